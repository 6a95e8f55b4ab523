package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Versions of Landlock's interface: see landlock(7).
const (
	abiFiles = 1
	abiPorts = 4
)

const dnsPort = 53

// namesFrom are the folders of what Go's resolver reads, and of those that its files may be links
// into, now or later.
var namesFrom = []string{"/etc", "/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf"}

// namesIn are the files themselves: wherever they are links to now, as /mnt/wsl.
var namesIn = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"}

const (
	reading = landlock.AccessFSSet(ll.AccessFSReadFile | ll.AccessFSReadDir)
	writing = reading | landlock.AccessFSSet(
		ll.AccessFSWriteFile|ll.AccessFSMakeReg|ll.AccessFSMakeDir|ll.AccessFSMakeSock|
			ll.AccessFSRemoveFile|ll.AccessFSRemoveDir|ll.AccessFSTruncate)
	removing = landlock.AccessFSSet(ll.AccessFSRemoveFile)
)

// Process confines the process to what it needs. An error says what could not be done; the rest has
// been. It must be called once, by no two goroutines.
func Process(n Needs) (Result, error) {
	var r Result
	_, _ = time.Now().Zone() // reads a file the first time
	dumpable := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	r.Undumpable = dumpable == nil
	abi, err := ll.LandlockGetABIVersion()
	if err != nil || abi < abiFiles {
		return r, errors.Join(wrap("not dumpable", dumpable), noNewPrivileges())
	}
	files := []landlock.Rule{
		landlock.PathAccess(reading, existing(n.ReadIn)...),
		landlock.PathAccess(reading, existing(Folders(namesIn...))...),
		landlock.PathAccess(reading, existing(namesFrom)...),
		landlock.PathAccess(writing, existing(n.WriteIn)...),
		landlock.PathAccess(removing, existing(n.RemoveIn)...),
	}
	handled, ports := network(n, abi)
	err = restrict(handled, append(ports, files...))
	r.Files = err == nil || handled != 0 && restrict(0, files) == nil
	r.Ports = err == nil && abi >= abiPorts && !(n.ListenAnywhere && n.ConnectAnywhere)
	what := "ports"
	switch {
	case handled == 0:
		what = "files"
	case !r.Files:
		what = "files and ports"
	}
	return r, errors.Join(wrap("not dumpable", dumpable), wrap(what, err))
}

// restrict takes away files and ports, all at once: each time, each thread has to do it for itself,
// which is much of what a start costs.
func restrict(handled landlock.AccessNetSet, rules []landlock.Rule) error {
	// Version 7 and not later: version 9 would take connecting to Unix sockets away.
	all := landlock.Config{
		HandledAccessFS: landlock.V7.HandledAccessFS, HandledAccessNet: handled,
	}
	return all.BestEffort().Restrict(rules...)
}

// network says which of listening and connecting to ports is taken away, and the ports that are
// needed.
func network(n Needs, abi int) (handled landlock.AccessNetSet, rules []landlock.Rule) {
	if abi < abiPorts {
		return 0, nil
	}
	if !n.ListenAnywhere {
		handled |= ll.AccessNetBindTCP
		for _, port := range n.Listen {
			rules = append(rules, landlock.BindTCP(port))
		}
	}
	if !n.ConnectAnywhere && len(n.Connect) <= MaxConnect {
		handled |= ll.AccessNetConnectTCP
		for _, port := range append(slices.Clone(n.Connect), dnsPort) {
			rules = append(rules, landlock.ConnectTCP(port))
		}
	}
	return handled, rules
}

// noNewPrivileges is what Landlock does by the way. It is asked of each thread.
func noNewPrivileges() error {
	_, _, err := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if err != 0 {
		return wrap("no new privileges", err)
	}
	return nil
}

// existing returns those of the folders that are there, by their real names.
func existing(folders []string) []string {
	var all []string
	for _, folder := range folders {
		real, err := filepath.EvalSymlinks(folder)
		if err != nil {
			continue
		}
		if info, err := os.Stat(real); err == nil && info.IsDir() {
			all = append(all, real)
		}
	}
	return all
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("confine: %s: %w", what, err)
}

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
	rules := []landlock.Rule{
		landlock.PathAccess(reading, existing(n.ReadIn)...),
		landlock.PathAccess(reading, existing(Folders(namesIn...))...),
		landlock.PathAccess(reading, existing(namesFrom)...),
		landlock.PathAccess(writing, existing(n.WriteIn)...),
		landlock.PathAccess(removing, existing(n.RemoveIn)...),
	}
	// Version 7 and not later: version 9 would take connecting to Unix sockets away.
	if err := landlock.V7.BestEffort().RestrictPaths(rules...); err != nil {
		return r, errors.Join(wrap("not dumpable", dumpable), wrap("files", err))
	}
	r.Files = true
	if abi < abiPorts || n.ListenAnywhere && n.ConnectAnywhere {
		return r, wrap("not dumpable", dumpable)
	}
	err = restrictPorts(n)
	r.Ports = err == nil
	return r, errors.Join(wrap("not dumpable", dumpable), wrap("ports", err))
}

// restrictPorts takes away listening and connecting to ports that are not needed.
func restrictPorts(n Needs) error {
	var handled landlock.AccessNetSet
	var rules []landlock.Rule
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
	if handled == 0 {
		return nil
	}
	return landlock.Config{HandledAccessNet: handled}.BestEffort().RestrictNet(rules...)
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

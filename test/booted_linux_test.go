package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// bootedUnit is what starts bootedMain there.
const (
	bootedUnit = `[Unit]
Wants=network.target
After=basic.target
[Service]
Type=oneshot
ExecStart=/usr/bin/` + bootedWord + `
StandardOutput=file:/booted.log
StandardError=file:/booted.log
ExecStopPost=/bin/systemctl --no-block poweroff
TimeoutStartSec=infinity
`
	bootedOK = "\nall of it was so\n"
)

// restarts is how often each process is replaced under load.
const restarts = 10

// TestBooted has systemd be the first process of a machine with this one's files, on which sp's
// package has been installed, and has the units do what they are for: start, be reloaded, and be
// replaced under load, where nobody who comes to an inlet is refused.
//
//	SP_FULL=1 go test -run '^TestBooted$' ./test
func TestBooted(t *testing.T) {
	if !testenv.Full() {
		t.Skip("a machine takes some seconds to start: it is with SP_FULL=1")
	}
	testenv.NeedNetns(t)
	nspawn := testenv.NeedTool(t, "systemd-nspawn")
	testenv.NeedTool(t, "systemctl")
	root := machineRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), unhurried(3*time.Minute))
	defer cancel()
	cmd := exec.CommandContext(ctx, nspawn, "--directory="+root, "--register=no", "--keep-unit",
		"--private-network", "--link-journal=no", "--boot", "systemd.unit="+bootedWord+".service")
	cmd.Env = append(os.Environ(), "SYSTEMD_LOG_COLOR=0")
	out, err := os.Create(filepath.Join(t.TempDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = unhurried(10 * time.Second)
	err = cmd.Run()
	console, _ := os.ReadFile(out.Name())
	said, _ := os.ReadFile(filepath.Join(root, "booted.log"))
	if !bytes.HasSuffix(said, []byte(bootedOK)) {
		t.Fatalf("%v\n%s\n%s", err, said, console)
	}
	t.Logf("%s", said)
}

// machineRoot returns the root of a machine that has this one's files, and sp's package. Nothing of
// what is changed there is changed here.
func machineRoot(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	must(t, exec.Command("mount", "-t", "tmpfs", "tmpfs", dir))
	t.Cleanup(func() { must(t, exec.Command("umount", dir)) })
	for _, name := range []string{"root", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	must(t, exec.Command("mount", "-t", "overlay", "overlay", "-o", fmt.Sprintf(
		"lowerdir=/,upperdir=%[1]s/upper,workdir=%[1]s/work", dir), root))
	t.Cleanup(func() { must(t, exec.Command("umount", root)) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	packaging := filepath.Join("..", "packaging")
	for from, to := range map[string]string{
		executable(t): "usr/bin/sp",
		self:          "usr/bin/" + bootedWord,
		filepath.Join(packaging, "examples", "sp.socket"):     "usr/lib/systemd/system/sp.socket",
		filepath.Join(packaging, "sysusers.conf"):             "usr/lib/sysusers.d/sp.conf",
		filepath.Join(packaging, "tmpfiles.conf"):             "usr/lib/tmpfiles.d/sp.conf",
		filepath.Join(packaging, "scripts", "postinstall.sh"): "postinstall.sh",
	} {
		must(t, exec.Command("install", "-D", "-m", "755", from, filepath.Join(root, to)))
	}
	all := units(t)
	all[bootedWord+".service"] = bootedUnit
	for name, text := range all {
		path := filepath.Join(root, "usr", "lib", "systemd", "system", name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// bootedMain is the program that tries sp on that machine.
func bootedMain() {
	b := &booted{}
	defer func() {
		if r := recover(); r != nil {
			fmt.Println("failed:", r)
			b.systemctl("status", "--no-pager", "--lines=50", "sp*")
			log, _ := exec.Command("journalctl", "--no-pager", "-o", "cat", "-u", "sp", "-u",
				"sp-outlet@o").CombinedOutput()
			fmt.Printf("%s\n", log)
			os.Exit(1)
		}
	}()
	b.installs()
	b.startsEach()
	b.reloads()
	b.isReplaced()
	b.systemctl("stop", "sp.socket", "sp-far.socket", "sp", "sp-outlet@o")
	fmt.Print(bootedOK)
}

// booted is the machine.
type booted struct{}

func (b *booted) must(err error) {
	if err != nil {
		panic(err)
	}
}

func (b *booted) run(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		panic(fmt.Sprintf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out))
	}
	return string(out)
}

func (b *booted) systemctl(args ...string) {
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	fmt.Printf("systemctl %s: %s\n", strings.Join(args, " "), out)
	if err != nil && args[0] != "status" {
		panic(err)
	}
}

func (b *booted) file(path, text string) { b.must(os.WriteFile(path, []byte(text), 0o644)) }

// installs is what installing a package does.
func (b *booted) installs() {
	b.run("ip", "link", "set", "lo", "up")
	b.run("sh", "/postinstall.sh")
	b.file("/etc/systemd/system/sp-far.socket", "[Socket]\nListenStream=127.0.0.1:7100\n"+
		"FileDescriptorName=far\nService=sp-outlet@o.service\n")
	b.systemctl("daemon-reload")
	l, err := net.Listen("tcp", "127.0.0.1:9000")
	b.must(err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
}

// startsEach starts one unit of each kind of role, which says to systemd that it is ready.
func (b *booted) startsEach() {
	for name, flags := range map[string]string{
		"sp-relay@r":  "SP_LISTEN=127.0.0.1:4000",
		"sp-outlet@o": "SP_LISTEN=systemd:far\nSP_TARGET=127.0.0.1:9000",
		"sp-inlet@i":  "SP_LISTEN=127.0.0.1:6100\nSP_TO=127.0.0.1:7100",
		"sp-bridge@b": "SP_LISTEN=127.0.0.1:8000\nSP_NEXT=127.0.0.1:7100",
	} {
		b.file("/etc/sp/"+strings.NewReplacer("sp-", "", "@", "-").Replace(name)+".env", flags+"\n")
	}
	b.systemctl("start", "sp-far.socket")
	for _, name := range []string{"sp-relay@r", "sp-outlet@o", "sp-inlet@i", "sp-bridge@b"} {
		b.systemctl("start", name)
		b.systemctl("is-active", name)
	}
	b.must(b.echoes("127.0.0.1:6100"))
	who := b.run("ps", "-o", "user=", "-C", "sp")
	if strings.Trim(who, "sp \n") != "" {
		panic("somebody else runs it: " + who)
	}
	b.systemctl("stop", "sp-relay@r", "sp-inlet@i", "sp-bridge@b")
}

const (
	bootedPortals = "[inlet.i]\nlisten = 'systemd:web'\nto = '127.0.0.1:7100'\n"
	bootedMore    = "[inlet.more]\nlisten = '127.0.0.1:6001'\nto = '127.0.0.1:7100'\n"
)

// reloads has a file of portals be another: what is open goes on.
func (b *booted) reloads() {
	b.file("/etc/sp/sp.toml", bootedPortals)
	b.systemctl("start", "sp.socket", "sp")
	c, err := net.Dial("tcp", "127.0.0.1:6000")
	b.must(err)
	b.must(b.talk(c))
	b.file("/etc/sp/sp.toml", bootedPortals+bootedMore)
	b.systemctl("reload", "sp")
	for b.echoes("127.0.0.1:6001") != nil { // before systemd 253, a reload returns at once
		b.must(b.talk(c))
	}
	b.file("/etc/sp/sp.toml", bootedPortals)
	b.systemctl("reload", "sp")
	for b.echoes("127.0.0.1:6001") == nil {
		b.must(b.talk(c))
	}
	b.must(b.talk(c))
	b.must(c.Close())
}

// isReplaced replaces the inlets' process under load, and the outlet's.
func (b *booted) isReplaced() {
	var load sync.WaitGroup
	var over atomic.Bool
	var done, failed atomic.Int64
	for range 4 {
		load.Go(func() {
			for !over.Load() {
				if err := b.echoes("127.0.0.1:6000"); err != nil {
					fmt.Println("refused:", err, time.Now().UTC())
					failed.Add(1)
				}
				done.Add(1)
			}
		})
	}
	for range restarts {
		b.systemctl("restart", "sp")
		b.systemctl("restart", "sp-outlet@o")
	}
	for _, line := range []string{"start sp-next", "restart sp", "stop sp-next"} {
		b.systemctl(strings.Fields(line)...)
	}
	over.Store(true)
	load.Wait()
	fmt.Printf("%d connections while both were replaced %d times\n", done.Load(), restarts)
	if failed.Load() > 0 || done.Load() < restarts {
		panic(fmt.Sprintf("%d of them failed", failed.Load()))
	}
}

// echoes makes a connection to an echo service, as clients do that end it.
func (b *booted) echoes(where string) error {
	c, err := net.Dial("tcp", where)
	if err != nil {
		return err
	}
	defer c.Close()
	return b.talk(c)
}

func (b *booted) talk(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, "hello"); err != nil {
		return err
	}
	got := make([]byte, len("hello"))
	_, err := io.ReadFull(c, got)
	return err
}

package test

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/bluetooth"
	"github.com/secureportal/sp/internal/testenv"
)

const (
	radioOK = "\nall of it was so\n"

	// radioVariable is set where such a test runs.
	radioVariable = "SP_TEST_RADIO"

	machineMemory = "768" // MiB, all files included
)

// radioModules are what two radios take that are none, in Debian's kernel: the emulator looks for
// three of the ciphers, which nothing names as needed.
var radioModules = []string{
	"ecb", "cmac", "algif_hash", "algif_skcipher", "ecdh_generic", "bluetooth", "hci_vhci",
}

// virtualMachine is a virtual machine that is made of this one's kernel and of a few of its files.
type virtualMachine struct {
	t      *testing.T
	qemu   string
	kernel string   // its file
	loads  []string // files of modules, in order
	root   archive
}

// newVirtualMachine skips where there is nothing to make a machine with radios of.
func newVirtualMachine(t *testing.T) *virtualMachine {
	t.Helper()
	if runtime.GOARCH != "amd64" || raceDetector {
		t.Skip("needs a machine and a test binary that a small virtual machine can run")
	}
	m := &virtualMachine{t: t, qemu: testenv.NeedTool(t, "qemu-system-x86_64")}
	emulator := testenv.NeedTool(t, "btvirt")
	kernels, _ := filepath.Glob("/boot/vmlinuz-*")
	for _, kernel := range slices.Backward(kernels) {
		version := strings.TrimPrefix(kernel, "/boot/vmlinuz-")
		if loads, err := modules(filepath.Join("/lib/modules", version), radioModules); err == nil {
			m.kernel, m.loads = kernel, loads
			break
		}
	}
	if m.kernel == "" {
		testenv.Skip(t, "needs a kernel with Bluetooth in /boot, and its modules: linux-image-amd64")
	}
	m.root.folders("dev", "proc", "sys", "tmp", "etc", "root", "modules")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m.program(self, radioWord)
	m.program(executable(t), "sp")
	m.program(emulator, "btvirt")
	for i, path := range m.loads {
		m.file(path, fmt.Sprintf("modules/%02d-%s", i, filepath.Base(path)))
	}
	return m
}

// modules returns the files of kernel modules and of what they need, in the order in which they are
// loaded.
func modules(dir string, names []string) (files []string, err error) {
	list, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtIn, _ := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	needs := make(map[string][]string) // by file
	named := make(map[string]string)
	for line := range strings.Lines(string(list)) {
		file, others, _ := strings.Cut(line, ":")
		needs[file] = strings.Fields(others)
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		named[name] = file
	}
	for _, name := range names {
		file, ok := named[name]
		if !ok && strings.Contains(string(builtIn), "/"+name+".ko") {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("no module %s in %s", name, dir)
		}
		order := append([]string{file}, needs[file]...)
		for _, one := range slices.Backward(order) { // what is needed first stands last
			if path := filepath.Join(dir, one); !slices.Contains(files, path) {
				files = append(files, path)
			}
		}
	}
	return files, nil
}

// program puts a program into the machine, with the libraries that it needs.
func (m *virtualMachine) program(path, name string) {
	m.t.Helper()
	m.file(path, name)
	f, err := elf.Open(path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			loader, _ := io.ReadAll(p.Open())
			path := string(bytes.TrimRight(loader, "\x00"))
			m.library(path, path)
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, name := range libraries {
		for _, dir := range []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64"} {
			if path := filepath.Join(dir, name); exists(path) {
				m.library(path, filepath.Join("/lib", name))
				break
			}
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// library puts a library into the machine, unless it is there.
func (m *virtualMachine) library(path, name string) {
	m.t.Helper()
	name = strings.TrimPrefix(name, "/")
	if m.root.has[name] {
		return
	}
	m.root.folders(filepath.Dir(name))
	m.program(path, name)
}

// file puts a file into the machine.
func (m *virtualMachine) file(path, name string) {
	m.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	m.root.add(name, unix.S_IFREG|0o755, b)
}

// hasKVM tells whether this machine's processor runs another machine's programs by itself. What
// else is behind /dev/kvm is slower than qemu alone.
func hasKVM() bool {
	if !exists("/sys/module/kvm_intel") && !exists("/sys/module/kvm_amd") {
		return false
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// run runs a test in the machine, and returns what that has printed.
func (m *virtualMachine) run(test string, within time.Duration, env ...string) string {
	m.t.Helper()
	image := filepath.Join(m.t.TempDir(), "root.cpio")
	if err := os.WriteFile(image, m.root.end(), 0o600); err != nil {
		m.t.Fatal(err)
	}
	accelerator := []string{"-accel", "tcg,thread=multi", "-cpu", "Nehalem"}
	if hasKVM() {
		accelerator = []string{"-accel", "kvm", "-accel", "tcg", "-cpu", "max"}
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.qemu, append(accelerator,
		"-m", machineMemory, "-smp", "2", "-nodefaults", "-no-user-config", "-display", "none",
		"-serial", "stdio", "-no-reboot", "-kernel", m.kernel, "-initrd", image, "-append",
		"console=ttyS0 panic=-1 quiet cryptomgr.notests=1 random.trust_cpu=1 rdinit=/"+radioWord+
			" -- "+strings.Join(append([]string{test, within.String()}, env...), " "))...)
	out, err := cmd.CombinedOutput()
	said := strings.ReplaceAll(string(out), "\r\n", "\n")
	if !strings.Contains(said, radioOK) {
		m.t.Fatalf("%v\n%s", err, said)
	}
	return said
}

// radioMain is the first process of that machine: it has two radios made, runs a test, and switches
// the machine off.
func radioMain() {
	err := prepareRadio()
	if err == nil {
		err = radioTest(os.Args[1], os.Args[2], os.Args[3:])
	}
	if err != nil {
		fmt.Println("failed:", err)
	} else {
		fmt.Print(radioOK)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func prepareRadio() error {
	for _, one := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(one[0], one[1], one[0], 0, ""); err != nil {
			return fmt.Errorf("%s: %w", one[1], err)
		}
	}
	files, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	for _, path := range files {
		if err := loadModule(path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := switchOnLoopback(); err != nil {
		return err
	}
	emulator := exec.Command("/btvirt", "-L", "-l2")
	emulator.Stdout, emulator.Stderr = os.Stdout, os.Stderr
	if err := emulator.Start(); err != nil {
		return err
	}
	for by := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		all, err := bluetooth.Adapters()
		if err == nil && len(all) == 2 {
			return errors.Join(bluetooth.SwitchOn(all[0]), bluetooth.SwitchOn(all[1]))
		}
		if time.Now().After(by) {
			return fmt.Errorf("the radios did not come: %v, %w", all, err)
		}
	}
}

// loadModule loads a module, which the kernel decompresses if need be.
func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(path, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	if err := unix.FinitModule(int(f.Fd()), "", flags); err != unix.EEXIST {
		return err
	}
	return nil
}

func switchOnLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	loopback.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, loopback)
}

func radioTest(test, within string, env []string) error {
	cmd := exec.Command("/"+radioWord, "-test.run=^"+test+"$", "-test.v", "-test.timeout="+within)
	cmd.Args[0] = "/test"
	cmd.Env = append(env, radioVariable+"=1", "SP_BINARY=/sp", "HOME=/root", "PATH=/", "TMPDIR=/tmp")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	return cmd.Run()
}

// archive is the files of a machine, as the kernel takes them: cpio's "newc".
type archive struct {
	bytes.Buffer
	has map[string]bool
}

func (a *archive) folders(names ...string) {
	for _, name := range names {
		if name == "." || a.has[name] {
			continue
		}
		a.folders(filepath.Dir(name))
		a.add(name, unix.S_IFDIR|0o755, nil)
	}
}

func (a *archive) add(name string, mode uint32, content []byte) {
	if a.has == nil {
		a.has = make(map[string]bool)
	}
	a.has[name] = true
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", len(a.has), mode,
		0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.WriteString(name + "\x00")
	a.pad()
	a.Write(content)
	a.pad()
}

// pad goes on to the next multiple of four.
func (a *archive) pad() { a.Write(make([]byte, -a.Len()&3)) }

func (a *archive) end() []byte {
	a.add("TRAILER!!!", 0, nil)
	return a.Bytes()
}

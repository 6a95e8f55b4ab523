package test

import (
	"bytes"
	"context"
	"debug/pe"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// windows is a Windows of its own, with sp in it. It is Wine's.
type windows struct {
	t      *testing.T
	prefix string // the folder that it is in
	sp     string
}

// newWindows returns one, which ends with the test. To make it takes half a minute.
func newWindows(t *testing.T) *windows {
	t.Helper()
	if !testenv.Full() {
		t.Skip("Wine takes half a minute, and 700 MB: it is started with SP_FULL=1")
	}
	if _, err := exec.LookPath("wine"); err != nil { // too large for .ci/run
		t.Skip("needs the program wine (on Debian: apt-get install --no-install-recommends wine wine64)")
	}
	dir := t.TempDir()
	w := &windows{t: t, prefix: filepath.Join(dir, "prefix"), sp: filepath.Join(dir, "sp.exe")}
	build := exec.Command("go", "build", "-o", w.sp, "github.com/secureportal/sp")
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	must(t, build)
	t.Cleanup(func() {
		_ = w.command("wineserver", "-k", "-w").Run()
		if t.Failed() {
			t.Log(w.log("o.log"), w.log("i.log"), w.log("r.log"))
		}
	})
	if out, err := w.run("wineboot", "--init"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	system := filepath.Join(w.prefix, "drive_c", "windows", "system32")
	const library = "bcryptprimitives.dll" // which Go needs, and older Wines lack
	if _, err := os.Stat(filepath.Join(system, library)); err != nil {
		dll := forwardingLibrary(library, "ProcessPrng", "advapi32.SystemFunction036")
		if err := os.WriteFile(filepath.Join(system, library), dll, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.boots()
	return w
}

// boots has somebody be there: a Wine in which nobody runs a program ends, and its services do.
func (w *windows) boots() {
	w.t.Helper()
	_ = w.command("wineserver", "-k").Run() // it may have ended
	_ = w.command("wineserver", "-w").Run()
	user := w.command("wine", "cmd")
	stdin, err := user.StdinPipe()
	if err == nil {
		err = user.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = stdin.Close()
		_ = user.Wait()
	})
}

// command returns a program of Wine's.
func (w *windows) command(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), unhurried(time.Minute))
	w.t.Cleanup(cancel) // that of the test has ended when Wine is ended
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = filepath.Dir(w.sp)
	cmd.Env = append(os.Environ(), "WINEPREFIX="+w.prefix, "WINEDEBUG=-all", "DISPLAY=")
	return cmd
}

// run runs a program of Wine's, and returns what it prints: into a file, for what Wine itself
// starts keeps its stdout, and outlives it.
func (w *windows) run(name string, args ...string) (string, error) {
	w.t.Helper()
	out, err := os.CreateTemp(filepath.Dir(w.sp), "out")
	if err != nil {
		w.t.Fatal(err)
	}
	defer out.Close()
	cmd := w.command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	text, _ := os.ReadFile(out.Name())
	return string(text), err
}

// service gives a command of sp service, and returns what it prints.
func (w *windows) service(code int, args ...string) string {
	w.t.Helper()
	out, err := w.run("wine", append([]string{w.sp, "service"}, args...)...)
	got := 0
	if err != nil {
		got = -1
		if exit, ok := err.(*exec.ExitError); ok {
			got = exit.ExitCode()
		}
	}
	if got != code {
		w.t.Fatalf("sp service %s: exit code %d: %s", strings.Join(args, " "), got, out)
	}
	return out
}

// log is what is in a log file by now.
func (w *windows) log(name string) string {
	text, _ := os.ReadFile(filepath.Join(filepath.Dir(w.sp), name))
	return string(text)
}

// TestWindowsService installs an outlet and an inlet as services, uses them, and stops and removes
// them, in order: what is open is waited for.
//
//	SP_FULL=1 go test -run '^TestWindowsService$' ./test
func TestWindowsService(t *testing.T) {
	w := newWindows(t)
	target, at, where := service(t, echo), testkit.Address(t), testkit.Address(t)
	w.service(0, "install", "--name", "o", "--", "outlet", "--listen", at, "--target", target,
		"--log-file", "o.log")
	w.service(1, "install", "--name", "o", "--", "outlet", "--listen", at, "--target", target)
	w.service(1, "status", "--name", "o")
	w.boots()
	eventually(t, "the service starts with the machine", func() bool {
		_, err := w.run("wine", w.sp, "service", "status", "--name", "o")
		return err == nil
	})
	w.service(0, "start", "--name", "o")
	if out := w.service(0, "status", "--name", "o"); !strings.HasPrefix(out, "running ") {
		t.Errorf("%q", out)
	}
	if out, err := w.run("wine", "net", "start"); err != nil || !strings.Contains(out, "sp: o") {
		t.Errorf("%v: %s", err, out)
	}
	w.service(0, "install", "--name", "i", "--", "inlet", "--listen", where, "--to", at,
		"--log-file", "i.log")
	w.service(0, "start", "--name", "i")
	c := dial(t, where)
	send(t, c, "before")
	receives(t, c, "before")

	stop := start(t, w.command("wine", w.sp, "service", "stop", "--name", "i"))
	eventually(t, "the inlet is stopping", func() bool {
		return strings.Contains(w.log("i.log"), "waiting for open connections")
	})
	send(t, c, "meanwhile")
	receives(t, c, "meanwhile")
	halfClose(t, c)
	receivesEnd(t, c)
	stop.ends(done)
	w.service(1, "status", "--name", "i")
	if c, err := dialWhere(where); err == nil {
		_ = c.Close()
		t.Error("somebody listens where the inlet has")
	}
	w.service(0, "stop", "--name", "i") // it has been

	w.service(0, "remove", "--name", "o") // which stops it
	w.service(0, "remove", "--name", "i")
	for _, name := range []string{"o", "i"} {
		if out := w.service(1, "status", "--name", name); !strings.Contains(out, "sp service install") {
			t.Errorf("%q", out)
		}
	}
	w.fails()
}

// fails is a service that cannot be started, which says so and why.
func (w *windows) fails() {
	w.t.Helper()
	taken := service(w.t, echo)
	w.service(0, "install", "--", "relay", "--listen", taken, "--allow-anyone", "--log-file", "r.log")
	if out := w.service(1, "start"); !strings.Contains(out, "has ended, with exit code 1") {
		w.t.Errorf("%q", out)
	}
	if out := w.service(1, "status"); !strings.HasPrefix(out, "stopped, exit code 1\n") {
		w.t.Errorf("%q", out)
	}
	if said := w.log("r.log"); !strings.Contains(said, "sp: ") || !strings.Contains(said, taken) {
		w.t.Errorf("%q", said)
	}
	w.service(0, "remove")
	if out := w.service(1, "remove", "--name", "EventLog"); !strings.Contains(out, "none of sp's") {
		w.t.Errorf("%q", out)
	}
	out, err := w.run("wine", w.sp, "service", "host", "--", "up")
	if err == nil || !strings.Contains(out, "only the service manager of Windows starts this") {
		w.t.Errorf("%v, %s", err, out)
	}
}

// forwardingLibrary is a library whose only function is one of another library. Its section has the
// table of exports (PE Format, .edata), with one address, name and ordinal, and their texts.
func forwardingLibrary(library, name, to string) []byte {
	const at, alignment, table = 0x1000, 0x200, 40
	section := make([]byte, table+4+4+2)
	put := binary.LittleEndian.PutUint32
	text := func(s string) uint32 {
		begins := uint32(at + len(section))
		section = append(append(section, s...), 0)
		return begins
	}
	put(section[12:], text(library))
	put(section[16:], 1) // the first ordinal
	put(section[20:], 1) // addresses
	put(section[24:], 1) // names
	put(section[28:], at+table)
	put(section[32:], at+table+4)
	put(section[36:], at+table+8)
	put(section[table:], text(to))
	put(section[table+4:], text(name))
	size := uint32(len(section))
	section = append(section, make([]byte, alignment-len(section)%alignment)...)

	head := pe.OptionalHeader64{
		Magic: 0x20b, ImageBase: 0x180000000, SectionAlignment: at, FileAlignment: alignment,
		MajorOperatingSystemVersion: 6, MajorSubsystemVersion: 6, SizeOfImage: 2 * at,
		SizeOfHeaders: alignment, Subsystem: pe.IMAGE_SUBSYSTEM_WINDOWS_CUI, NumberOfRvaAndSizes: 16,
	}
	head.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_EXPORT] = pe.DataDirectory{
		VirtualAddress: at, Size: size,
	}
	edata := pe.SectionHeader32{
		Name: [8]uint8([]byte(".edata\x00\x00")), VirtualSize: size, VirtualAddress: at,
		SizeOfRawData: uint32(len(section)), PointerToRawData: alignment,
		Characteristics: pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ,
	}
	var file bytes.Buffer
	file.WriteString("MZ" + strings.Repeat("\x00", 58) + "\x40\x00\x00\x00PE\x00\x00")
	for _, part := range []any{
		pe.FileHeader{
			Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1,
			SizeOfOptionalHeader: uint16(binary.Size(head)),
			Characteristics:      pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_DLL,
		}, head, edata,
	} {
		_ = binary.Write(&file, binary.LittleEndian, part) // into memory
	}
	file.Write(make([]byte, alignment-file.Len()))
	return append(file.Bytes(), section...)
}

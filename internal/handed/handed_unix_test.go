//go:build unix

package handed

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/netio"
)

// childVariable has this test binary do one of children, with what it was handed.
const childVariable = "HANDED_TEST_CHILD"

var children = map[string]func(){"named": namedChild, "number": numberChild}

func TestMain(m *testing.M) {
	if f := children[os.Getenv(childVariable)]; f != nil {
		f()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// handOver runs a child with files from descriptor 3 on, and returns what it prints. names are
// those of systemd's; without, the child is told nothing.
func handOver(t *testing.T, child, names string, files ...*os.File) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := `exec "$0"`
	if names != "" {
		script = fmt.Sprintf(`LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES=%s exec "$0"`,
			len(files), names)
	}
	cmd := exec.Command("/bin/sh", "-c", script, self)
	cmd.Env = append(os.Environ(), childVariable+"="+child)
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

type filer interface{ File() (*os.File, error) }

// fileOf returns the descriptor of a socket, which is closed with the test.
func fileOf(t *testing.T, socket io.Closer, err error) *os.File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	f, err := socket.(filer).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = f.Close(), socket.Close() })
	return f
}

// allKinds are descriptors of every kind, with what is wrong with them.
func allKinds(t *testing.T) (files []*os.File) {
	t.Helper()
	l, err := netio.ListenConfig().Listen(t.Context(), "tcp", "127.0.0.1:0")
	files = append(files, fileOf(t, l, err))
	local, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	files = append(files, fileOf(t, local, err))
	c, err := net.Dial("tcp", l.Addr().String())
	files = append(files, fileOf(t, c, err))
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	files = append(files, fileOf(t, udp, err))
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return append(files, file)
}

func say(what string, err error) { fmt.Printf("%s: %v\n", what, err) }

func isKept(n int) bool {
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC != 0
}

func namedChild() {
	Take()
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if _, ok := os.LookupEnv(name); ok {
			fmt.Println(name, "is left to children")
		}
	}
	for n := First; n < First+5; n++ {
		if !isKept(n) {
			fmt.Println("descriptor", n, "is left to children")
		}
	}
	both, err := Named("web", "one")
	say(fmt.Sprint(len(both)), err)
	_, err = Named("web", "two")
	say("again", err)
	_, err = Number(3, "two")
	say("by number", err)
	fmt.Println("unused:", Unused())
	_, err = both[0].Accept() // the connection that was handed as well: nobody else comes
	say("accepts", err)
	for _, l := range both {
		say("waits", Configure(l, netio.ListenConfig()))
		waiting := make(chan error)
		go func() {
			_, err := l.Accept()
			waiting <- err
		}()
		_ = unix.SetNonblock(both[0].(*listener).of.number, false) // as systemd does for the next one
		say("closed", l.Close())
		fmt.Println("left:", errors.Is(<-waiting, net.ErrClosed))
	}
	fmt.Println("unused:", Unused())
	both, err = Named("web", "three")
	say(fmt.Sprint("anew: ", len(both)), err)
	for _, name := range []string{"conn", "udp", "file", "nobody"} {
		_, err := Named(name, "x")
		say(name, errors.Join(err, differs(err, CheckNamed(name))))
	}
	Close()
	_, err = Named("web", "four")
	say("at the end", err)
}

// differs tells that a check says something else than what comes of it.
func differs(one, other error) error {
	if fmt.Sprint(one) == fmt.Sprint(other) {
		return nil
	}
	return fmt.Errorf("and the check says: %w", other)
}

// Sockets are known by systemd's names, once each, and what is no listener is refused.
func TestNamed(t *testing.T) {
	got := handOver(t, "named", "web:web:conn:udp:file", allKinds(t)...)
	const want = `2: <nil>
again: descriptor 3 is one at which somebody listens already: one has it
by number: descriptor 3 is one at which somebody listens already: one has it
unused: []
accepts: <nil>
waits: <nil>
closed: <nil>
left: true
waits: <nil>
closed: <nil>
left: true
unused: [web web]
anew: 2: <nil>
conn: descriptor 5: it is a connection, or not listening yet: systemd hands a socket that ` +
		`listens with Accept=no, and for Accept=yes it is --listen -
udp: descriptor 6: it is a socket for something else than streams over TCP or Unix sockets ` +
		`(ListenStream= of systemd makes those)
file: descriptor 7: it is no socket
nobody: no socket is called so: what was handed to this process is called conn, file, udp, web
at the end: use of closed network connection
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func numberChild() {
	for _, n := range []int{0, 3, 4, 5, 6, 7, 200} {
		l, err := Number(n, "one")
		say(fmt.Sprint(n), errors.Join(err, differs(err, func() error {
			if err == nil {
				_ = l.Close()
			}
			return CheckNumber(n)
		}())))
		if err == nil && !isKept(n) {
			fmt.Println("descriptor", n, "is left to children")
		}
	}
	own, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	raw, _ := own.(*net.TCPListener).SyscallConn()
	_ = raw.Control(func(n uintptr) {
		_, err := Number(int(n), "one")
		fmt.Println("its own:", err != nil && strings.Contains(err.Error(), "is this process's own"))
	})
	_, err = Named("web", "one")
	say("by name", err)
}

// Descriptors that nobody has said a word about are known by their numbers, and this process's own
// are not taken for them.
func TestNumber(t *testing.T) {
	got := handOver(t, "number", "", allKinds(t)...)
	for _, want := range []string{
		"0: 0, 1 and 2 are stdin", "3: <nil>", "4: <nil>", "5: descriptor 5: it is a connection",
		"6: descriptor 6: it is a socket for something else", "7: descriptor 7: it is no socket",
		"200: descriptor 200 is not open: nothing was handed to this process", "its own: true",
		"by name: nothing was handed to this process: there is no LISTEN_FDS",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not said: %s", want)
		}
	}
	if strings.Contains(got, "and the check says") || strings.Contains(got, "left to children") ||
		t.Failed() {
		t.Errorf("got\n%s", got)
	}
}

// What is for another process, such as a shell that has started this one, is not this one's.
func TestOthers(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	Take()
	if _, err := Named("web", "one"); !errors.Is(err, ErrNone) ||
		!strings.Contains(err.Error(), "for process 1, and this is") {
		t.Errorf("got %v", err)
	}
}

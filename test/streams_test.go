//go:build unix

package test

import (
	"bufio"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// lastWords is more than an sp waits at its end for who reads its log and its ready line.
const lastWords = 5 * time.Second

// pipe returns a pipe whose both ends block, as a shell's do.
func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	syscall.ForkLock.RLock() // or a process of another test would inherit it
	err := syscall.Pipe(fds[:])
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

// hangUp closes an end of a pipe, at a moment when no process that another test starts
// has a copy of it: who is at the other end is told by his next write.
func hangUp(end *os.File) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	_ = end.Close()
}

// fillPipe writes to a pipe until it takes nothing any more, to the last byte.
func fillPipe(t testing.TB, w *os.File) {
	t.Helper()
	fd := int(w.Fd())
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{4096, 1} {
		for {
			if _, err := syscall.Write(fd, make([]byte, size)); err == syscall.EAGAIN {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := syscall.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
}

// newUnread starts a relay, an outlet there of a service that echoes, and an inlet. The log of one
// part is a pipe that is full, and that nobody reads.
func newUnread(t *testing.T, part string, flags ...string) *topology {
	t.Helper()
	_, log := pipe(t)
	w := &topology{person: newPerson(t), relayAt: testkit.Address(t)}
	begin := func(name string, args ...string) *process {
		cmd := w.command(append(args, flags...)...)
		if name == part {
			cmd.Stderr = log
		}
		return start(t, cmd)
	}
	w.relay = begin("relay", w.person.relayAt(w.relayAt)...)
	w.relay.ready()
	w.outlet = begin("outlet", "outlet", "--relay", w.relayAt, "--name", "db",
		"--target", service(t, echo))
	w.outlet.ready()
	w.connected(begin("inlet", "inlet", "--listen", anywhere, "--to", "db@"+w.relayAt))
	if err := echoes(w.dial(), "before"); err != nil {
		t.Fatal(err)
	}
	fillPipe(t, log)
	return w
}

// TestLogNotRead has each role do all that it has to although nobody reads its log, which is full:
// come back after the relay was away, and end when it is told to.
func TestLogNotRead(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"inlet", "outlet", "relay"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			w := newUnread(t, part, "--log-level", "debug", "--drain", "1s")
			if part != "relay" {
				w.kill("relay")
				w.revive("relay")
			}
			eventually(t, "a connection", func() bool {
				c, err := dialWhere(w.address)
				if err != nil {
					return false
				}
				defer c.Close()
				return echoes(c, "after") == nil
			})
			_ = w.dial().Close()
			(*w.part(part)).signal(syscall.SIGHUP)
			began := time.Now()
			(*w.part(part)).stop()
			(*w.part(part)).ends(0)
			if !inTime(began, lastWords) {
				t.Errorf("it has taken %v to end", time.Since(began))
			}
		})
	}
}

// TestDenialWithLogNotRead has who is denied lose what is open although the log, which would say
// so, is full.
func TestDenialWithLogNotRead(t *testing.T) {
	t.Parallel()
	_, log := pipe(t)
	u, guest := newPerson(t), newPerson(t)
	denied := u.file("denied", "")
	cmd := u.command("outlet", "--listen", anywhere, "--target", service(t, echo),
		"--allow", guest.identifier(), "--deny-file", denied)
	cmd.Stderr = log
	to := wordBehind(t, start(t, cmd).ready(), "--to")
	inlet := guest.inletTo(to, "--allow", u.identifier())
	c := dial(t, inlet)
	if err := echoes(c, "before"); err != nil {
		t.Fatal(err)
	}
	fillPipe(t, log)
	u.file("denied", guest.identifier()+"\n")
	receivesReset(t, c)
}

// TestLogReaderGone has each role live on when the reader of its log is gone, whatever it logs, and
// end as it should.
func TestLogReaderGone(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	for part, args := range map[string][]string{
		"relay":  u.relayAt(anywhere, u.ownKey()...),
		"bridge": {"bridge", "--listen", anywhere, "--next", "127.0.0.1:1"},
		"outlet": {"outlet", "--listen", anywhere, "--target", "127.0.0.1:1"},
	} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			reader, log := pipe(t)
			cmd := u.command(args...)
			cmd.Stderr = log
			p := start(t, cmd)
			line := p.ready()
			_ = log.Close()
			hangUp(reader)
			p.signal(syscall.SIGHUP) // which is logged
			to := line
			if part == "outlet" {
				to = hostPortOf(wordBehind(t, line, "--to"))
			}
			u.saysHello(step(to))
			p.stop()
			p.ends(0)
		})
	}
}

// TestReadyLineNotRead has an outlet serve although nobody reads what it prints, and end.
func TestReadyLineNotRead(t *testing.T) {
	t.Parallel()
	_, out := pipe(t)
	fillPipe(t, out)
	u, at := newPerson(t), testkit.Address(t)
	cmd := u.command("outlet", "--listen", at, "--target", service(t, echo), "--drain", "1s")
	cmd.Stdout = out
	p := start(t, cmd)
	if err := echoes(dial(t, u.inletTo(at)), "hello"); err != nil {
		t.Error(err)
	}
	began := time.Now()
	p.stop()
	p.ends(0)
	if !inTime(began, lastWords) {
		t.Errorf("it has taken %v to end", time.Since(began))
	}
}

// TestLastWords has the line that explains an exit code get through to a reader who comes late.
func TestLastWords(t *testing.T) {
	t.Parallel()
	reader, log := pipe(t)
	fillPipe(t, log)
	u := newPerson(t)
	cmd := u.command("identity", "show", "nowhere")
	cmd.Stderr = log
	p := start(t, cmd)
	_ = log.Close()
	said, err := io.ReadAll(reader)
	if err != nil || !strings.Contains(string(said), "\x00sp: ") {
		t.Errorf("read %q, %v", strings.Trim(string(said), "\x00"), err)
	}
	p.ends(1)
}

// TestCrashIsSeen has what the Go runtime prints of a crash come behind what was logged.
func TestCrashIsSeen(t *testing.T) {
	t.Parallel()
	reader, log := pipe(t)
	u := newPerson(t)
	cmd := u.command(u.relayAt(anywhere)...)
	cmd.Stderr = log
	p := start(t, cmd)
	_ = log.Close()
	p.ready()
	p.signal(syscall.SIGHUP)
	lines := bufio.NewReader(reader)
	const logged = "reading all files again"
	for line := ""; !strings.Contains(line, logged); {
		var err error
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	p.signal(syscall.SIGQUIT)
	rest, err := io.ReadAll(lines)
	if err != nil || !strings.Contains(string(rest), "\ngoroutine ") {
		t.Errorf("read %q, %v", rest, err)
	}
	p.ends(2)
}

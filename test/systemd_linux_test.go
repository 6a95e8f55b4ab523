package test

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// systemd is what a unit with Type=notify and a watchdog talks to. It takes at once what it is
// told, as there is room for little.
type systemd struct {
	t     *testing.T
	at    string
	words <-chan string
}

// systemdWords is how much it is told before it is asked, at most: more than in any test.
const systemdWords = 1 << 14

func newSystemd(t *testing.T) systemd {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram",
		&net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	words := make(chan string, systemdWords)
	var taking sync.WaitGroup
	taking.Go(func() {
		b := make([]byte, 100)
		for {
			n, err := socket.Read(b)
			if err != nil {
				return
			}
			select {
			case words <- string(b[:n]):
			default:
				t.Error("systemd is told too much")
			}
		}
	})
	t.Cleanup(taking.Wait)
	t.Cleanup(func() { _ = socket.Close() })
	return systemd{t, socket.LocalAddr().String(), words}
}

// start starts cmd as a unit.
func (s systemd) start(cmd *exec.Cmd) *process {
	s.t.Helper()
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+s.at, "WATCHDOG_USEC=600000")
	return start(s.t, cmd)
}

// told returns the next thing that the unit says, which it has said until the time late.
func (s systemd) told(late <-chan time.Time) (word string) {
	s.t.Helper()
	select {
	case word = <-s.words:
	case <-late:
		s.t.Fatal("systemd was told nothing, or only that the unit lives")
	}
	return word
}

// awaits fails the test unless the unit says what, and before that only that it lives.
func (s systemd) awaits(what string) {
	s.t.Helper()
	s.awaited(what)
}

// awaited is awaits, and returns what comes behind that.
func (s systemd) awaited(what string) (rest string) {
	s.t.Helper()
	late := time.After(patience)
	got := s.told(late)
	for ; !strings.HasPrefix(got, what); got = s.told(late) {
		if got != "WATCHDOG=1" {
			s.t.Fatalf("in place of %s: %q", what, got)
		}
	}
	return strings.TrimPrefix(got, what)
}

func (s systemd) lives() {
	s.t.Helper()
	late := time.After(patience)
	for range 2 {
		if got := s.told(late); got != "WATCHDOG=1" {
			s.t.Fatalf("in place of a sign of life: %q", got)
		}
	}
}

// TestSystemd checks that an inlet is ready only when its far end has answered, lives before that,
// and says that it stops.
func TestSystemd(t *testing.T) {
	t.Parallel()
	u, s := newPerson(t), newSystemd(t)
	at, target := testkit.Address(t), listen(t).Addr().String()
	p := s.start(u.command("inlet", "--listen", anywhere, "--to", at))
	s.lives()
	u.start("outlet", "--listen", at, "--target", target)
	p.ready()
	s.awaits("READY=1")
	p.stop()
	s.awaits("STOPPING=1")
	p.ends(done)
}

// TestSystemdDraining checks that a role that waits for its connections to finish lives.
func TestSystemdDraining(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"inlet", "outlet"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			me, service, d := newPerson(t), listen(t), newSystemd(t)
			run := func(args ...string) *process {
				cmd := me.command(args...)
				if args[0] == role {
					return d.start(cmd)
				}
				return start(t, cmd)
			}
			outlet := run("outlet", "--listen", anywhere, "--target", service.Addr().String())
			route := wordBehind(t, outlet.ready(), "--to")
			inlet := run("inlet", "--listen", anywhere, "--to", route)
			client := dial(t, inlet.ready())
			target := accept(t, service)
			p := map[string]*process{"inlet": inlet, "outlet": outlet}[role]
			d.awaits("READY=1")
			p.stop()
			d.awaits("STOPPING=1")
			d.lives()
			_, _ = client.Close(), target.Close()
			p.ends(done)
		})
	}
}

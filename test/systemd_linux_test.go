package test

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// systemd is what a unit with Type=notify and a watchdog talks to.
type systemd struct {
	t      *testing.T
	socket *net.UnixConn
}

func newSystemd(t *testing.T) systemd {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram",
		&net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return systemd{t, socket}
}

// start starts cmd as a unit.
func (s systemd) start(cmd *exec.Cmd) *process {
	s.t.Helper()
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+s.socket.LocalAddr().String(),
		"WATCHDOG_USEC=200000")
	return start(s.t, cmd)
}

// told returns the next thing that the unit says.
func (s systemd) told() string {
	s.t.Helper()
	b := make([]byte, 100)
	_ = s.socket.SetReadDeadline(time.Now().Add(patience))
	n, err := s.socket.Read(b)
	if err != nil {
		s.t.Fatalf("systemd was told nothing: %v", err)
	}
	return string(b[:n])
}

// awaits fails the test unless the unit says what, and before that only that it lives.
func (s systemd) awaits(what string) {
	s.t.Helper()
	s.awaited(what)
}

// awaited is awaits, and returns what comes behind that.
func (s systemd) awaited(what string) (rest string) {
	s.t.Helper()
	got := s.told()
	for ; !strings.HasPrefix(got, what); got = s.told() {
		if got != "WATCHDOG=1" {
			s.t.Fatalf("in place of %s: %q", what, got)
		}
	}
	return strings.TrimPrefix(got, what)
}

func (s systemd) lives() {
	s.t.Helper()
	for range 2 {
		if got := s.told(); got != "WATCHDOG=1" {
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

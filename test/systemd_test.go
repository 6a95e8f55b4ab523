//go:build linux

package test

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// systemd is what a unit with Type=notify and a watchdog talks to.
type systemd struct {
	t      *testing.T
	socket *net.UnixConn
}

func newSystemd(t *testing.T) systemd {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return systemd{t, socket}
}

// start starts cmd as a unit.
func (s systemd) start(cmd *exec.Cmd) *process {
	s.t.Helper()
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+s.socket.LocalAddr().String(), "WATCHDOG_USEC=200000")
	return background(s.t, cmd)
}

// told returns the next thing that the unit says.
func (s systemd) told() string {
	s.t.Helper()
	b := make([]byte, 100)
	_ = s.socket.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := s.socket.Read(b)
	if err != nil {
		s.t.Fatalf("systemd was told nothing: %v", err)
	}
	return string(b[:n])
}

// awaits fails the test unless the unit says what, and before that only that it lives.
func (s systemd) awaits(what string) {
	s.t.Helper()
	for got := s.told(); !strings.HasPrefix(got, what); got = s.told() {
		if got != "WATCHDOG=1" {
			s.t.Fatalf("in place of %s: %q", what, got)
		}
	}
}

func (s systemd) lives() {
	s.t.Helper()
	for range 2 {
		if got := s.told(); got != "WATCHDOG=1" {
			s.t.Fatalf("in place of a sign of life: %q", got)
		}
	}
}

// TestSystemd checks that an inlet is ready only when its far end has answered, lives before that, and says that it stops.
func TestSystemd(t *testing.T) {
	t.Parallel()
	u, s := newPerson(t), newSystemd(t)
	at, target := freeAddress(t), listen(t).Addr().String()
	p := s.start(u.command("inlet", "--listen", "127.0.0.1:0", "--to", at))
	s.lives()
	u.start("outlet", "--listen", at, "--target", target)
	ready(t, p)
	s.awaits("READY=1")
	if err := p.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.awaits("STOPPING=1")
	ends(t, p, 0)
}

// TestSystemdDraining checks that a role that waits for its connections to finish lives.
func TestSystemdDraining(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"inlet", "outlet"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			s, d := &site{person: newPerson(t), target: listen(t)}, newSystemd(t)
			start := func(name string, args ...string) *process {
				cmd := s.command(append([]string{name}, args...)...)
				if name == role {
					return d.start(cmd)
				}
				return background(t, cmd)
			}
			s.outlet = start("outlet", "--listen", "127.0.0.1:0", "--target", s.target.Addr().String())
			s.printed = ready(t, s.outlet)
			s.inlet = start("inlet", "--listen", "127.0.0.1:0", "--to", s.route())
			s.address = ready(t, s.inlet)
			client, target := s.open()
			p := map[string]*process{"inlet": s.inlet, "outlet": s.outlet}[role]
			d.awaits("READY=1")
			if err := p.signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			d.awaits("STOPPING=1")
			d.lives()
			_, _ = client.Close(), target.Close()
			ends(t, p, 0)
		})
	}
}

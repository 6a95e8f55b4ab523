//go:build unix

package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// Exit codes, as the help says.
const (
	done        = 0
	failed      = 1
	usageWrong  = 2
	unreachable = 3
	notTrusted  = 4
)

// TestUntrusted refuses either side that the other one does not trust. The target never sees a
// connection.
func TestUntrusted(t *testing.T) {
	t.Parallel()
	t.Run("inlet", func(t *testing.T) {
		t.Parallel()
		s := newOutlet(t)
		stranger := newPerson(t)
		p := stranger.start("inlet", "--no-wait", "--listen", anywhere, "--to", s.route(),
			"--allow", s.word("--allow"))
		p.ends(notTrusted)
		p.saysError("not trusted by the far end")
		s.untouched()
	})
	t.Run("outlet", func(t *testing.T) {
		t.Parallel()
		guest := newPerson(t)
		s := newOutlet(t, "--allow", guest.identifier())
		p := guest.start("inlet", "--no-wait", "--listen", anywhere, "--to", s.route())
		p.ends(notTrusted)
		p.saysError(s.word("--allow"))
		s.untouched()
	})
}

// TestUntrustedWaits is an inlet that would wait for a far end that will never trust it: it goes on
// trying, clients get nowhere, and the target sees nothing.
func TestUntrustedWaits(t *testing.T) {
	t.Parallel()
	s := newOutlet(t)
	stranger := newPerson(t)
	address := testkit.Address(t)
	p := stranger.start("inlet", "--listen", address, "--to", s.route(),
		"--allow", s.word("--allow"), "--connect-timeout", "1s")
	p.says("not trusted by the far end")
	if c, err := net.Dial("tcp", address); err == nil {
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("a client has read %d bytes, %v", n, err)
		}
	}
	select {
	case <-p.done:
		t.Error("the inlet has given up")
	default:
	}
	if out := p.stdout.String(); out != "" {
		t.Errorf("the inlet says that it is ready: %q", out)
	}
	s.untouched()
}

// TestUnreachable fails at once where nobody listens, if it is not to wait.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	p := newPerson(t).start("inlet", "--no-wait", "--listen", anywhere, "--to", testkit.Address(t))
	p.ends(unreachable)
	p.saysError("cannot reach")
}

// TestInletBeforeOutlet waits for the outlet, and gets there.
func TestInletBeforeOutlet(t *testing.T) {
	t.Parallel()
	me, target := newPerson(t), listen(t)
	where := testkit.Address(t)
	inlet := me.start("inlet", "--listen", anywhere, "--to", where)
	inlet.says("far end not reached")
	me.start("outlet", "--listen", where, "--target", target.Addr().String()).ready()
	client := dial(t, inlet.ready())
	send(t, client, "at last")
	receives(t, accept(t, target), "at last")
}

// TestOutletRestarts ends connections that were open with a reset; new ones work as soon as the
// outlet is back.
func TestOutletRestarts(t *testing.T) {
	t.Parallel()
	s := newTopology(t, plan{at: testkit.Address(t), inlets: 1})
	client, _ := s.open()
	s.kill("outlet")
	receivesReset(t, client)
	s.revive("outlet")
	s.carries()
}

// TestDrain lets an open connection finish after SIGTERM or SIGINT, and refuses new ones.
func TestDrain(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"inlet", "outlet"} {
		for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
			t.Run(fmt.Sprint(role, " ", signal), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, "--connect-timeout", unhurried(time.Second).String())
				p := map[string]*process{"inlet": s.inlet, "outlet": s.outlet}[role]
				drains(t, s, p, signal)
			})
		}
	}
}

func drains(t *testing.T, s *topology, p *process, signal os.Signal) {
	t.Helper()
	client, target := s.open()
	send(t, client, "before")
	receives(t, target, "before")
	p.signal(signal)
	p.says("waiting for open connections")
	s.takesNoMore(p == s.inlet)
	send(t, client, "after")
	receives(t, target, "after")
	send(t, target, "and back")
	halfClose(t, client)
	receivesEnd(t, target)
	_ = target.Close()
	receives(t, client, "and back")
	receivesEnd(t, client)
	_ = client.Close()
	p.ends(done)
	if log := p.stderr.String(); p == s.inlet && strings.Contains(log, "far end not reached") {
		t.Errorf("an inlet that stops says\n%s", log)
	}
}

// takesNoMore waits until the portal takes no new connections: the inlet does not accept them, or
// resets them because the outlet does not. One that was taken just before gets no answer, and is
// reset, so that nobody waits for it.
func (s *topology) takesNoMore(atInlet bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(unhurried(3 * time.Second)))
		_, err = c.Read(make([]byte, 1))
		abandon(c)
		if !atInlet && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
	s.t.Fatal("new connections are still accepted")
}

// TestDrainEnds gives connections that do not finish as long as --drain says, and no longer.
func TestDrainEnds(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"inlet", "outlet"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "--drain", "1s")
			client, target := s.open()
			p := map[string]*process{"inlet": s.inlet, "outlet": s.outlet}[role]
			begin := time.Now()
			p.stop()
			receivesReset(t, client)
			receivesReset(t, target)
			p.says("have had their time, and are cut")
			p.ends(done)
			if took := time.Since(begin); took < time.Second || !inTime(begin, 10*time.Second) {
				t.Errorf("it took %v, want 1s", took)
			}
		})
	}
}

// TestSecondSignal does not wait for anything.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	client, _ := s.open()
	s.inlet.stop()
	s.inlet.says("waiting for open connections")
	s.inlet.signal(os.Interrupt) // two of one kind, at once, would be one
	if code, err := s.inlet.exitCode(); err != nil || code == done {
		t.Errorf("exit code %d, %v, want another", code, err)
	}
	receivesReset(t, client)
}

// TestSignalWhileWaiting ends an inlet that has not reached its outlet yet.
func TestSignalWhileWaiting(t *testing.T) {
	t.Parallel()
	p := newPerson(t).start("inlet", "--listen", anywhere, "--to", testkit.Address(t))
	p.says("far end not reached")
	p.stop()
	p.ends(done)
	if out := p.stdout.String(); out != "" {
		t.Errorf("it printed %q", out)
	}
}

// onStdio starts an inlet whose one connection is stdin and stdout, and returns the target's end of
// it.
func (s *topology) onStdio(flags ...string) (p *process, stdin io.WriteCloser, target conn) {
	s.t.Helper()
	cmd := s.command(append([]string{"inlet", "--listen", "-", "--to", s.route()}, flags...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = stdin.Close() })
	p = start(s.t, cmd)
	if _, err := io.WriteString(stdin, "before"); err != nil {
		s.t.Fatal(err)
	}
	target = s.accept()
	receives(s.t, target, "before")
	return p, stdin, target
}

// TestStdioDrains lets the one connection finish after a signal, as TestDrain does.
func TestStdioDrains(t *testing.T) {
	t.Parallel()
	p, stdin, target := newOutlet(t).onStdio()
	p.stop()
	p.says("waiting for open connections")
	if _, err := io.WriteString(stdin, "after"); err != nil {
		t.Fatal(err)
	}
	_ = stdin.Close()
	receives(t, target, "after")
	receivesEnd(t, target)
	send(t, target, "and back")
	_ = target.Close()
	p.ends(done)
	if out := p.stdout.String(); out != "and back" {
		t.Errorf("stdout has %q", out)
	}
}

// TestStdioDrainEnds says with its exit code that the connection was cut: who reads stdout sees an
// end.
func TestStdioDrainEnds(t *testing.T) {
	t.Parallel()
	p, _, target := newOutlet(t).onStdio("--drain", "1s")
	p.stop()
	receivesReset(t, target)
	p.ends(failed)
	p.saysError("stopped by a signal before the connection had ended")
}

// TestStdioSignalWhileWaiting ends with an error: there was no connection.
func TestStdioSignalWhileWaiting(t *testing.T) {
	t.Parallel()
	p := newPerson(t).start("inlet", "--listen", "-", "--to", testkit.Address(t))
	p.says("far end not reached")
	p.stop()
	p.ends(failed)
	p.saysError("stopped by a signal")
}

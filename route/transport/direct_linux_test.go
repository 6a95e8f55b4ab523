package transport

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/mux"
)

// tcpPair is the two ends of a TCP connection.
func tcpPair(t *testing.T) (dialed, accepted net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = dialed.Close(), accepted.Close() })
	return dialed, accepted
}

// runner is a run whose work the test waits for.
func runner(t *testing.T) func(func()) bool {
	t.Helper()
	var tasks sync.WaitGroup
	t.Cleanup(tasks.Wait)
	return func(f func()) bool { tasks.Go(f); return true }
}

// TestDirectLinks has links on a connection that both sides have dialed, whichever of the two has.
func TestDirectLinks(t *testing.T) {
	run := runner(t)
	here, there := tcpPair(t)
	caller, err := NewDirectCaller(there, NewDirectBudget())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	run(func() {
		defer close(ended)
		_ = caller.Carry(t.Context(), run, testkit.Patience, func(l Link) {
			run(func() {
				defer l.Close()
				_, _ = io.Copy(l, l)
				_ = l.CloseWrite()
			})
		})
	})
	d, err := NewDirect(here, run, NewDirectBudget())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		l, err := d.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(l, "hello"); err != nil {
			t.Error(err)
		}
		_ = l.CloseWrite()
		if got, err := io.ReadAll(l); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
		_ = l.Close()
	}
	d.Close()
	<-d.Done()
	<-ended
	if _, err := d.Open(); err == nil {
		t.Error("a link is opened on what has ended")
	}
}

// TestDirectStranger has somebody come who opens no link: he has his time, and no more.
func TestDirectStranger(t *testing.T) {
	for name, say := range map[string]string{"nothing": "", "no frame": "GET / HTTP/1.1\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			run := runner(t)
			here, there := tcpPair(t)
			caller, err := NewDirectCaller(there, NewDirectBudget())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(here, say); err != nil {
				t.Fatal(err)
			}
			within := 50 * time.Millisecond
			if say != "" {
				within = testkit.Patience
			}
			err = caller.Carry(t.Context(), run, within, func(l Link) {
				t.Error("he has made a link")
				_ = netio.Reset(l)
			})
			if (err != nil) != (say != "") {
				t.Errorf("%q: %v", say, err)
			}
		})
	}
}

// TestDirectSilence has the other side say nothing any more: who opens a link gives the connection
// up.
func TestDirectSilence(t *testing.T) {
	run := runner(t)
	here, _ := tcpPair(t)
	d, err := NewDirect(here, run, NewDirectBudget())
	if err != nil {
		t.Fatal(err)
	}
	d.Check()
	select {
	case <-d.Done():
	case <-time.After(directTaken + testkit.Patience):
		t.Error("it is not given up")
		d.Reset()
	}
}

// bothEnds is a direct connection, with a served other side, whose links echo.
func bothEnds(t *testing.T, serve func(Link)) (*Direct, *DirectCaller) {
	t.Helper()
	run := runner(t)
	here, there := tcpPair(t)
	caller, err := NewDirectCaller(there, NewDirectBudget())
	if err != nil {
		t.Fatal(err)
	}
	run(func() {
		_ = caller.Carry(t.Context(), run, testkit.Patience, func(l Link) { run(func() { serve(l) }) })
	})
	d, err := NewDirect(here, run, NewDirectBudget())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Reset)
	return d, caller
}

// TestDirectAborted has links end at once that were opened after nothing had come for a while: the
// connection stays, and so do the others.
func TestDirectAborted(t *testing.T) {
	run := runner(t)
	here, there := tcpPair(t)
	d, err := NewDirect(here, run, NewDirectBudget())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Reset)
	d.on.began = time.Now().Add(-time.Hour) // nothing has come since
	for _, end := range []func(Link){
		func(l Link) { _ = l.Close() },
		func(l Link) { _ = netio.Reset(l) },
	} {
		l, err := d.Open()
		if err != nil {
			t.Fatal(err)
		}
		end(l)
	}
	select {
	case <-d.Done():
		t.Error("the connection has ended with a link")
	case <-time.After(100 * time.Millisecond): // who has been woken by the link's end has looked
	}
	l, err := d.Open() // which is taken late, but something comes before that
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m, err := mux.NewAcceptor(there, mux.Config{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for range 3 {
		if _, err := m.Accept(); err != nil {
			t.Error(err)
		}
	}
	d.awaitTaken(l.(*directLink).Link, -1)
	if d.mux.Err() != nil || d.IdleFor() != 0 {
		t.Error("the connection has ended, although something has come")
	}
}

// TestDirectIdle has a connection be idle only when no link is open on it, whatever passes there.
func TestDirectIdle(t *testing.T) {
	d, _ := bothEnds(t, func(l Link) {
		_, _ = io.Copy(io.Discard, l)
		_ = l.Close()
	})
	for range 2 {
		a, err := d.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := d.Open()
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Close()
		_ = a.Close()
		time.Sleep(time.Millisecond)
		if idle := d.IdleFor(); idle != 0 {
			t.Errorf("with an open link it is idle for %v", idle)
		}
		_ = netio.Reset(b)
		time.Sleep(time.Millisecond)
		if d.IdleFor() == 0 {
			t.Error("without a link it is not idle")
		}
	}
}

// TestDirectFinish has either side end the connection while much that it has said is under way: all
// of it arrives.
func TestDirectFinish(t *testing.T) {
	const much = 200 << 10 // less than a link's window
	said := make([]byte, much)
	for _, calls := range []bool{true, false} {
		answered := make(chan error, 1)
		d, caller := bothEnds(t, func(l Link) {
			defer l.Close()
			if calls {
				_, err := l.Write(said)
				answered <- err
				return
			}
			b, err := io.ReadAll(l)
			if err == nil && len(b) != much {
				err = io.ErrUnexpectedEOF
			}
			answered <- err
		})
		l, err := d.Open()
		if err != nil {
			t.Fatal(err)
		}
		if calls {
			if err := <-answered; err != nil {
				t.Error(err)
			}
			caller.Finish()
			if b, err := io.ReadAll(l); err != nil || len(b) != much {
				t.Errorf("%d bytes have come: %v", len(b), err)
			}
		} else {
			if _, err := l.Write(said); err != nil {
				t.Error(err)
			}
			_ = l.CloseWrite()
			d.Finish()
			if err := <-answered; err != nil {
				t.Error(err)
			}
		}
		_ = l.Close()
	}
}

package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// listenAs listens at text for links, or for applications.
func listenAs(t *testing.T, s *Sockets, text string, guarded bool) net.Listener {
	t.Helper()
	a, err := ParseListen(text, Localhost)
	if err != nil {
		t.Fatal(err)
	}
	l, err := listenSocket(t.Context(), Config{Sockets: s}.withDefaults(), a, guarded)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dialAddr(t *testing.T, a net.Addr) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(a.Network(), a.String(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Whoever comes between two who listen at the same address is accepted by the second, whatever the
// kind of socket; when nothing is held, a socket ends with its listener.
func TestSocketsAreHeld(t *testing.T) {
	path := "unix:" + filepath.Join(t.TempDir(), "s")
	for _, at := range []string{"127.0.0.1:0", ":0", path} {
		s := NewSockets().Of("one")
		first := listenAs(t, s, at, true)
		address := first.Addr()
		end := s.Hold()
		_ = first.Close()
		waits := dialAddr(t, address)
		second := listenAs(t, s, at, true)
		c, err := second.Accept()
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		_, _ = io.WriteString(c, "x")
		if _, err := io.ReadFull(waits, make([]byte, 1)); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		_ = c.Close()
		if _, err := first.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the first one accepts: %v", at, err)
		}
		_ = second.Close()
		end()
		if _, err := net.Dial(address.Network(), address.String()); err == nil {
			t.Errorf("%s: it is held without end", at)
		}
		third := listenAs(t, s, at, true)
		_ = third.Close()
		if _, err := net.Dial(third.Addr().Network(), third.Addr().String()); err == nil {
			t.Errorf("%s: it is held although nobody holds", at)
		}
	}
}

// A held socket that is in the way of another kind of listener makes room, one whose file somebody
// has removed is of no use, and a free port is its user's.
func TestSocketsThatAreNotHeld(t *testing.T) {
	s := NewSockets()
	defer s.Hold()()
	at := testkit.Address(t) // at which no connection of somebody else's may begin
	_ = listenAs(t, s, at, false).Close()
	wide := listenAs(t, s, "0.0.0.0:"+at[len("127.0.0.1:"):], false)
	_ = wide.Close()
	_ = listenAs(t, s, at, true)

	path := filepath.Join(t.TempDir(), "s")
	_ = listenAs(t, s, "unix:"+path, false).Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	again := listenAs(t, s, "unix:"+path, false)
	_ = dialAddr(t, again.Addr())
	_ = again.Close()
	other := listenAs(t, s, "unix:"+path, true)
	_ = dialAddr(t, other.Addr())

	one := listenAs(t, s.Of("one"), "127.0.0.1:0", false)
	two := listenAs(t, s.Of("two"), "127.0.0.1:0", false)
	_, _ = one.Close(), two.Close()
	if l := listenAs(t, s.Of("two"), "127.0.0.1:0", false); l.Addr().String() != two.Addr().String() {
		t.Errorf("two had %v, and then %v", two.Addr(), l.Addr())
	}
}

// Nobody is lost while a socket changes hands again and again, also between two accepting.
func TestSocketsChangeHands(t *testing.T) {
	const workers, each = 4, 50
	for _, at := range []string{"127.0.0.1:0", "localhost:0"} {
		s := NewSockets()
		end := s.Hold()
		var tasks sync.WaitGroup
		accepted := make(chan struct{}, workers*each)
		accept := func(l net.Listener) {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, "x")
				_ = c.Close()
				accepted <- struct{}{}
			}
		}
		l := listenAs(t, s, at, false)
		address := l.Addr()
		tasks.Go(func() { accept(l) })
		for range workers {
			tasks.Go(func() {
				for range each {
					if err := asks(address); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for n := 0; n < workers*each && !t.Failed(); n++ {
			<-accepted
			_ = l.Close()
			next := listenAs(t, s, at, false)
			l = next
			tasks.Go(func() { accept(next) })
		}
		_ = l.Close()
		end()
		tasks.Wait()
	}
}

// asks connects, and waits for a byte.
func asks(a net.Addr) error {
	c, err := net.Dial("tcp", a.String())
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

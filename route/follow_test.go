package route

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

func named(name string, port uint16) wire.Address {
	return wire.Address{Kind: wire.DNS, Name: name, Port: port}
}

// Where a session is does not hang on what its name stands for by now, nor on there being somebody
// to ask.
func TestDialFollowing(t *testing.T) {
	w := newWorld(t)
	n := w.node(t)
	l := testkit.Listen(t)
	port := addressOf(l).Port
	var to whereabouts
	dial := func(a wire.Address) error {
		c, err := n.dialFollowing(testkit.Context(t), a, &to)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	if err := dial(named("no-such-host.invalid", port)); err == nil {
		t.Fatal("a name that is none has been dialed")
	}
	if err := dial(named("localhost", port)); err != nil {
		t.Fatal(err)
	}
	if err := dial(named("no-such-host.invalid", port)); err != nil {
		t.Errorf("the name is gone, and the session is not: %v", err)
	}
	_ = l.Close()
	var failed *DialError
	if err := dial(named("localhost", port)); !errors.As(err, &failed) || !failed.moved {
		t.Errorf("nobody is there any more: %v", err)
	}
}

// moving are two nodes at one port of two addresses of this machine, by address, and their
// listeners.
func moving(t *testing.T, w world) (port uint16, by map[string]net.Listener) {
	t.Helper()
	by = make(map[string]net.Listener)
	for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
		l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(ip), port).String())
		if err != nil {
			t.Skip("there is no second loopback address here, or the port is taken: ", err)
		}
		n := w.node(t)
		n.HandleBasics()
		serve(t, n, l)
		by[ip], port = l, addressOf(l).Port
	}
	return port, by
}

// A name moves, or cannot be looked up any more, while whoever it led to lives on. Whoever has a
// session goes on with it. Where no new links are taken, there is a new session with whoever is at
// the name by now, and what the old one carries goes on.
func TestSessionMoves(t *testing.T) {
	names := testkit.NewNames(t)
	w := newWorld(t)
	port, by := moving(t, w)
	near := w.node(t)
	to := Route{named("moving.test", port), secure(), svc(EchoName)}
	names.Set("moving.test", "127.0.0.1")
	hold := func() *Stream {
		t.Helper()
		s, err := near.OpenAndAwait(testkit.Context(t), to, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		testkit.Hurry(t, s)
		return s
	}
	held := hold()
	old := held.Session()
	names.Set("moving.test", "127.0.0.2")
	for range 3 { // each on a link of its own
		if hold().Session() != old {
			t.Error("the name moves, and the session is given up")
		}
	}
	_ = by["127.0.0.1"].Close()
	testkit.Eventually(t, "another session, once no link is left that was made before", func() bool {
		return hold().Session() != old
	})
	if !old.Retired() {
		t.Error("the session goes on where no links are taken")
	}
	names.GoAway()
	for range 3 {
		_ = hold()
	}
	testkit.Write(t, held, "still here")
	testkit.Expect(t, held, "still here")
	if other, err := w.node(t).Session(testkit.Context(t), to); err == nil {
		t.Errorf("a new session, and nobody has been asked where: %v", other)
	}
}

// A bridge leads the links of somebody to where his others are, whatever the name stands for by
// now, and to where it leads once nobody is there or he has none.
func TestBridgeFollows(t *testing.T) {
	names := testkit.NewNames(t)
	w := newWorld(t)
	port, by := moving(t, w)
	bridge, at := w.listening(t, anywhere)
	near := w.node(t)
	to := Route{at, named("moving.test", port), secure(), svc(EchoName)}
	names.Set("moving.test", "127.0.0.1")
	hold := func(n *Node) *Stream {
		t.Helper()
		s, err := n.OpenAndAwait(testkit.Context(t), to, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		testkit.Hurry(t, s)
		return s
	}
	held := hold(near)
	old := held.Session()
	names.Set("moving.test", "127.0.0.2")
	for range 3 {
		if hold(near).Session() != old {
			t.Error("the name moves, and the session is given up")
		}
	}
	_ = by["127.0.0.1"].Close()
	other := w.node(t)
	_ = hold(other)
	testkit.Write(t, held, "still here")
	testkit.Expect(t, held, "still here")
	_, _ = near.Close(), other.Close()
	testkit.Eventually(t, "nobody is followed any more", func() bool {
		bridge.followed.mu.Lock()
		defer bridge.followed.mu.Unlock()
		return len(bridge.followed.by) == 0
	})
}

// balancer has each connection, counted from 0, go where next says, and returns where it listens.
func balancer(t *testing.T, next func(n int) wire.Address) wire.Address {
	t.Helper()
	l := testkit.Listen(t)
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() {
				backend, err := net.Dial("tcp", transport.Format(next(n)))
				if err != nil {
					_ = netio.Reset(netio.Wrap(c))
					return
				}
				_ = (&netio.Proxy{A: netio.Wrap(c), B: netio.Wrap(backend)}).Run()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		tasks.Wait()
	})
	return addressOf(l)
}

// A balancer leads the links of a session to whom it likes. Whoever says something at once gets
// through it, and so does whoever waits.
func TestBalancer(t *testing.T) {
	w := newWorld(t)
	var backends []wire.Address
	for range 3 {
		n, at := w.listening(t)
		n.HandleBasics()
		backends = append(backends, at)
	}
	at := balancer(t, func(n int) wire.Address { return backends[n%len(backends)] })
	f := failover(t, w.node(t), Route{at, secure(), svc(EchoName)})
	for i := range 30 {
		s, err := f.OpenWith(testkit.Context(t), Lazy, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close() // all stay open
		testkit.Hurry(t, s)
		if i%2 == 0 {
			testkit.Write(t, s, "hello")
			testkit.Expect(t, s, "hello")
		} else if err := s.Await(testkit.Context(t)); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
}

// A backend that gets no new links, and has those that it had, is not missed.
func TestBalancerMoves(t *testing.T) {
	w := newWorld(t)
	first, at := w.listening(t)
	first.HandleBasics()
	second, other := w.listening(t)
	second.HandleBasics()
	var moved atomic.Bool
	balanced := balancer(t, func(int) wire.Address {
		if moved.Load() {
			return other
		}
		return at
	})
	f := failover(t, w.node(t), Route{balanced, secure(), svc(EchoName)})
	open := func() *Stream {
		t.Helper()
		s, err := f.OpenWith(testkit.Context(t), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		testkit.Hurry(t, s)
		if _, err := s.Read(nil); err != nil { // waits for the answer
			t.Fatal(err)
		}
		testkit.Write(t, s, "hello")
		testkit.Expect(t, s, "hello")
		return s
	}
	before := open()
	moved.Store(true)
	after := open()
	if before.Session() == after.Session() {
		t.Error("it got to a node that takes no new links")
	}
	testkit.Write(t, before, "still here")
	testkit.Expect(t, before, "still here")
	_ = before.CloseWrite()
	if _, err := io.ReadAll(before); err != nil {
		t.Error(err)
	}
}

// What belongs to a session is opened where the session is.
func TestOpenBeside(t *testing.T) {
	names := testkit.NewNames(t)
	w := newWorld(t)
	port, by := moving(t, w)
	near := w.node(t)
	step := named("moving.test", port)
	names.Set("moving.test", "127.0.0.1")
	s, err := near.Session(testkit.Context(t), Route{step, secure()})
	if err != nil {
		t.Fatal(err)
	}
	names.Set("moving.test", "127.0.0.2")
	_ = by["127.0.0.2"].Close()
	if _, err := near.OpenAndAwait(testkit.Context(t), Route{step, svc(HopName)}, 0, nil); err == nil {
		t.Error("somebody is where the name leads")
	}
	beside, err := near.OpenBeside(testkit.Context(t), s, Route{step, svc(HopName)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = beside.Close()
}

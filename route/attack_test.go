package route

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/mux"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// What strangers, and those who are trusted with something, may not do to a node.

// A link counts as unauthenticated until it is known who has made it, whatever it asks for.
func TestLinkCountsUntilAuthenticated(t *testing.T) {
	w := newWorld(t)
	const most = 8
	n, at := w.listening(t, func(c *Config) { c.Limits.Unauthenticated = most })
	n.HandleBasics()
	asks := opening(t,
		wire.Message{Onward: wire.Route{secure()}, Return: wire.Route{w.node(t).labels.origin()}})
	for range 3 * most {
		c, err := net.Dial("tcp", transport.Format(at))
		if err != nil {
			continue // reset by a node that has enough
		}
		defer c.Close()
		_, _ = c.Write(asks)
	}
	all, _ := n.admission.Links()
	links, _ := LinkCounts(n)
	if links > most || all > most {
		t.Errorf("%d unauthenticated links, of which %d are counted", links, all)
	}
}

// A flow that says nothing ends, for it is counted nowhere.
func TestSilentFlowEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, at := w.listening(t)
	n.HandleBasics()
	s, err := w.node(t).Session(testkit.Context(t), Route{at, secure(), svc(EchoName)})
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Open(testkit.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(nil); err != nil {
		t.Fatal(err)
	}
	_ = f.SetDeadline(time.Now().Add(testkit.Patience))
	status := make([]byte, 3)
	if _, err := io.ReadFull(f, status); err != nil || wire.Code(status[0]) != wire.Timeout {
		t.Errorf("it hears %x, %v", status, err)
	}
}

// A probe whose link is swallowed is not waited for, for the path may be well.
func TestSwallowedProbe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, at := w.listening(t)
	n.HandleBasics()
	var tasks sync.WaitGroup
	t.Cleanup(tasks.Wait)
	l := testkit.Listen(t)
	box := addressOf(l)
	tasks.Go(func() {
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if i == 1 { // the first link is the session's, and this is the probe's
				tasks.Go(func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() })
				continue
			}
			d, err := net.Dial("tcp", transport.Format(at))
			if err != nil {
				_ = c.Close()
				return
			}
			tasks.Go(func() { _ = (&netio.Proxy{A: netio.Wrap(c), B: netio.Wrap(d)}).Run() })
		}
	})
	near := w.node(t, func(c *Config) { c.ConnectTimeout = time.Second })
	f := failover(t, near, Route{box, secure(), svc(EchoName)})
	if err := f.Await(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	expectUp(t, f)
	_ = near.Close()
}

// Await that is cancelled while the answer comes leaves no deadline behind.
func TestAwaitLeavesNoDeadline(t *testing.T) {
	for range 1000 {
		near, far := faultnet.Pipe()
		s := opened(near, new(answerer), []byte{1})
		ctx, cancel := context.WithCancel(context.Background())
		var tasks sync.WaitGroup
		tasks.Go(cancel)
		tasks.Go(func() { _, _ = far.Write([]byte{0, 1, 0, 7}) })
		if s.Await(ctx) == nil {
			if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		tasks.Wait()
		_ = near.Close()
		_ = far.Close()
	}
}

// A link in a mux that a closed node is asked to watch is closed, and nobody waits for himself.
func TestMuxLinkOfAClosedNode(t *testing.T) {
	n := newWorld(t).node(t)
	here, there := faultnet.Pipe()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	run := func(f func()) bool { tasks.Go(f); return true }
	client, err := mux.NewOpener(here, mux.Config{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := mux.NewAcceptor(there, mux.Config{Run: run})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l, err := client.Open()
	if err != nil {
		t.Fatal(err)
	}
	_ = n.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.links.track(l)()
	}()
	testkit.Within(t, done, "track")
}

package route

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/wire"
)

// What strangers, and those who are trusted with something, may not do to a node.

// fickle is trust in everybody but one.
type fickle struct {
	mu      sync.Mutex
	denied  identity.Identifier
	changed chan struct{}
}

func newFickle() *fickle { return &fickle{changed: make(chan struct{})} }

func (f *fickle) Check(peer *identity.Peer, _ time.Time) (identity.Decision, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if peer.Identifier() == f.denied {
		return identity.Decision{}, fmt.Errorf("denied: %w", identity.ErrNotTrusted)
	}
	return identity.Decision{}, nil
}

func (f *fickle) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fickle) deny(id identity.Identifier) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.denied = id
	close(f.changed)
	f.changed = make(chan struct{})
}

func trusting(f *fickle) func(*Config) { return func(c *Config) { c.Channel.Trust = f } }

// registered has r registered until the returned function is called, or the test ends.
func registered(t *testing.T, r *Registrar) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan struct{})
	r.Registered = sync.OnceFunc(func() { close(ready) })
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	stop = func() {
		cancel()
		testkit.Within(t, done, "Run")
	}
	t.Cleanup(stop)
	testkit.Within(t, ready, "the registration")
	return stop
}

// Whoever is not trusted any more loses what a relay forwards to him, even if he has not got the claim any more that it
// began with.
func TestDeniedOwnerLosesWhatIsForwarded(t *testing.T) {
	for _, how := range []string{"still registered", "taken over", "session ended"} {
		t.Run(how, func(t *testing.T) {
			w, outlet := newWorld(t), newWorld(t)
			trust := newFickle()
			relay, at := w.listening(t, trusting(trust))
			NewRegistry(relay, RegistryConfig{})
			serving := outlet.node(t, trusting(newFickle()))
			serving.HandleBasics()
			first := outlet.node(t, trusting(newFickle()))
			stop := registered(t, &Registrar{Relay: Route{at}, Name: "x", Dial: first, Serve: serving})
			to := Route{at, Forward("x"), secure(), svc(EchoName)}
			s, err := w.node(t, trusting(newFickle())).OpenAndAwait(testkit.Context(t), to, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_ = s.SetDeadline(time.Now().Add(testkit.Patience))
			echo := func() {
				testkit.Write(t, s, "hi")
				testkit.Expect(t, s, "hi")
			}
			echo()
			switch how {
			case "taken over":
				stop()
				registered(t, &Registrar{Relay: Route{at}, Name: "x", Dial: outlet.node(t, trusting(newFickle())), Serve: serving})
			case "session ended":
				stop()
				_ = first.Close()
			}
			echo()
			trust.deny(outlet.id.Identifier())
			if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF || isTimeout(err) {
				t.Errorf("what is forwarded to somebody denied ends with %v", err)
			}
		})
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// A link counts as one that nothing is known of until it is known who has made it, whatever it asks for.
func TestOpeningCountsUntilKnown(t *testing.T) {
	w := newWorld(t)
	const most = 8
	n, at := w.listening(t, func(c *Config) { c.Limits.Opening = most })
	n.HandleBasics()
	asks := opening(t, wire.Message{Onward: wire.Route{secure()}, Return: wire.Route{w.node(t).label}})
	for range 3 * most {
		c, err := net.Dial("tcp", HostPort(at))
		if err != nil {
			continue // reset by a node that has enough
		}
		defer c.Close()
		_, _ = c.Write(asks)
	}
	n.mu.Lock()
	links, all := len(n.links), n.openings.common.taken.all
	n.mu.Unlock()
	if links > most || all > most {
		t.Errorf("%d links that nothing is known of, of which %d are counted", links, all)
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
	if _, err := io.ReadFull(f, status); err != nil || wire.Code(status[0]) != wire.BadMessage {
		t.Errorf("it hears %x, %v", status, err)
	}
}

// A probe whose link is swallowed is not waited for, for the road may be well.
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
			d, err := net.Dial("tcp", HostPort(at))
			if err != nil {
				_ = c.Close()
				return
			}
			tasks.Go(func() { _ = netio.Join(netio.Wrap(c), netio.Wrap(d)) })
		}
	})
	near := w.node(t, func(c *Config) { c.ConnectTimeout = 100 * time.Millisecond })
	expectRoad(t, roads(t, near, Route{box, secure(), svc(EchoName)}))
	_ = near.Close()
}

// Await that is cancelled while the answer comes leaves no deadline behind.
func TestAwaitLeavesNoDeadline(t *testing.T) {
	for range 1000 {
		near, far := faultnet.Pipe()
		s := opened(near, nil, 0, []byte{1})
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

// A half-close that comes by a mux and goes on by a spare link leaves the answer's way open.
func TestHalfCloseFromMuxToSpareLink(t *testing.T) {
	w := newWorld(t)
	first, at := w.listening(t)
	NewRegistry(first, RegistryConfig{})
	second, behind := w.listening(t)
	NewRegistry(second, RegistryConfig{})
	far := w.node(t)
	asked := make(chan struct{})
	far.HandleOpen("late", func(_ context.Context, q *Request) error {
		s := q.Accept()
		if err := s.Flush(); err != nil {
			return err
		}
		b, err := io.ReadAll(s)
		if err != nil {
			return err
		}
		<-asked
		if _, err := s.Write(b); err != nil {
			return err
		}
		return s.CloseWrite()
	})
	registered(t, &Registrar{Relay: Route{at}, Name: "second", Dial: second, Serve: second, NoSpares: true})
	registered(t, &Registrar{Relay: Route{behind}, Name: "far", Dial: far, Serve: far})
	time.AfterFunc(200*time.Millisecond, func() { close(asked) }) // by then the half-close has gone all the way
	got, err := ask(t, w.node(t), Route{at, Forward("second"), Forward("far"), svc("late")}, "hello")
	if err != nil || got != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// claimed claims a name and returns the flow that is to be a mux.
func claimed(t *testing.T, n *Node, relay wire.Address) *Stream {
	t.Helper()
	s, err := n.OpenAndAwait(testkit.Context(t), Route{relay, secure(), svc(RegisterName)}, 0, appendClaim(nil, muxOnly, "x"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netio.Reset(s) })
	if _, err := readTicket(s); err != nil {
		t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(testkit.Patience))
	return s
}

func muxFrame(kind byte, flags uint16, stream, length uint32) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, kind}, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return binary.BigEndian.AppendUint32(b, length)
}

// yamux makes a goroutine for each ping: a claim that pings without end is at its end.
func TestPingsInTheMux(t *testing.T) {
	w := newWorld(t)
	relay, at := w.listening(t)
	NewRegistry(relay, RegistryConfig{})
	s := claimed(t, w.node(t), at)
	var wrote error
	for range 1000 {
		if _, wrote = s.Write(bytes.Repeat(muxFrame(muxTypePing, muxFlagSYN, 0, 7), 100)); wrote != nil {
			break
		}
	}
	if wrote == nil {
		_, wrote = io.Copy(io.Discard, s)
	}
	if isTimeout(wrote) {
		t.Error("the claim goes on")
	}
}

// Nobody takes streams that an outlet opens in the mux.
func TestStreamsOfAnOutlet(t *testing.T) {
	w := newWorld(t)
	relay, at := w.listening(t)
	NewRegistry(relay, RegistryConfig{})
	mux, err := yamux.Server(claimed(t, w.node(t), at), muxConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	if _, err := mux.AcceptStream(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the relay's refusal", func() bool {
		s, err := mux.OpenStream()
		if err == nil {
			_ = s.Close()
		}
		return errors.Is(err, yamux.ErrRemoteGoAway)
	})
}

// Pings are counted wherever reads cut the frames, and not those in data.
func TestPingLimit(t *testing.T) {
	ping, data := muxFrame(muxTypePing, muxFlagSYN, 0, 7), muxFrame(muxTypeData, 0, 1, 24)
	data = append(data, ping...)
	data = append(data, ping...)
	for step := 1; step < 40; step++ {
		synctest.Test(t, func(t *testing.T) {
			near, far := faultnet.Pipe()
			defer near.Close()
			defer far.Close()
			exceeded := 0
			l := &pingLimit{Conn: near, exceeded: func() { exceeded++ }}
			read := func(b []byte) (err error) {
				_, _ = far.Write(b)
				for got := 0; got < len(b) && err == nil; {
					var n int
					n, err = l.Read(make([]byte, min(step, len(b)-got)))
					got += n
				}
				return err
			}
			for range 100 {
				if err := read(data); err != nil {
					t.Fatalf("data, %d at a time: %v", step, err)
				}
			}
			for range 3 { // and again after a while
				if err := read(bytes.Repeat(ping, muxPings)); err != nil {
					t.Fatalf("pings, %d at a time: %v", step, err)
				}
				time.Sleep(time.Second)
			}
			if exceeded > 0 {
				t.Errorf("not too many pings, %d at a time, are too many", step)
			}
			if err := read(bytes.Repeat(ping, muxPings+1)); err != errPings || exceeded != 1 {
				t.Errorf("too many pings, %d at a time: %v", step, err)
			}
		})
	}
}

// aMux returns the sides of a mux. The bubble ends with it.
func aMux(t *testing.T, most int32) (client *mux, server *yamux.Session) {
	t.Helper()
	here, there := faultnet.Pipe()
	var tasks sync.WaitGroup
	run := func(f func()) bool {
		tasks.Go(f)
		return true
	}
	client, err := newMux(yamux.Client, here, run, most)
	if err != nil {
		t.Fatal(err)
	}
	if server, err = yamux.Server(there, muxConfig()); err != nil {
		t.Fatal(err)
	}
	tasks.Go(client.watch)
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		tasks.Wait()
	})
	return client, server
}

// expectMuxEnd fails the test unless m has ended for a reason, or is open.
func expectMuxEnd(t *testing.T, m *mux, ended bool, reason error) {
	t.Helper()
	if !ended {
		reason = nil
	}
	if m.IsClosed() != ended || m.Err() != reason {
		t.Errorf("the mux is closed: %v, %v; want %v, %v", m.IsClosed(), m.Err(), ended, reason)
	}
}

// A mux ends whose other side sends more pings than anybody needs.
func TestPingsInMux(t *testing.T) {
	muxBubble(t, func(t *testing.T) {
		client, server := aMux(t, 0)
		for range muxPings {
			_, _ = server.Ping()
		}
		synctest.Wait()
		expectMuxEnd(t, client, false, nil)
		_, _ = server.Ping()
		synctest.Wait()
		expectMuxEnd(t, client, true, errPings)
	})
}

// A mux ends whose other side leaves more links open than it may that this one has closed.
func TestUnendedLinks(t *testing.T) {
	const most = 5
	for _, unended := range []int{most, most + 1} {
		muxBubble(t, func(t *testing.T) {
			client, server := aMux(t, most)
			for range unended {
				l, err := client.open()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := server.AcceptStream(); err != nil {
					t.Fatal(err)
				}
				_ = l.Close()
			}
			time.Sleep(3 * muxUnendedFor)
			expectMuxEnd(t, client, unended > most, errUnended)
		})
	}
}

// What comes on a closed link is thrown away, however much, and whoever read from it is told.
func TestClosedMuxLink(t *testing.T) {
	muxBubble(t, func(t *testing.T) {
		client, server := aMux(t, 1)
		l, err := client.open()
		if err != nil {
			t.Fatal(err)
		}
		far, err := server.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() {
			_, err := l.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		_ = l.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("who read gets %v", err)
		}
		if n, err := far.Write(make([]byte, 10<<20)); err != nil {
			t.Errorf("%d bytes of 10 MiB were taken: %v", n, err)
		}
		if _, err := l.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("who reads gets %v", err)
		}
		_ = far.Close()
	})
}

// A mux ends in which nothing is taken, and not one that waits for nothing.
func TestUntakenLinks(t *testing.T) {
	for name, opens := range map[string]int{"idle": 1, "jammed": muxBacklog + 1} {
		t.Run(name, func(t *testing.T) {
			muxBubble(t, func(t *testing.T) {
				client, _ := aMux(t, 0)
				for range opens {
					go func() {
						if l, err := client.open(); err == nil {
							_ = l.Close()
						}
					}()
				}
				time.Sleep(3 * muxUntaken)
				expectMuxEnd(t, client, opens > muxBacklog, errUntaken)
			})
		})
	}
}

// A relay that asks for ever more spare links and answers none gets a number of them.
func TestDemandsWithoutEnd(t *testing.T) {
	w := newWorld(t)
	relay, at := w.listening(t)
	var spares atomic.Int32
	enough := make(chan struct{})
	relay.offer(SpareName, service{handler: func(ctx context.Context, _ *Request) error {
		spares.Add(1)
		<-ctx.Done()
		return nil
	}, open: true, waits: true})
	relay.offer(RegisterName, service{handler: func(_ context.Context, q *Request) error {
		defer close(enough)
		stream := q.Accept()
		if _, err := stream.Write(make([]byte, ticketSize)); err != nil {
			return err
		}
		mux, err := yamux.Client(stream, muxConfig())
		if err != nil {
			return err
		}
		defer mux.Close()
		demand, err := mux.OpenStream()
		if err != nil {
			return err
		}
		for range 1000 {
			if _, err := demand.Write(make([]byte, maxSpares)); err != nil {
				return err
			}
		}
		return nil
	}, waits: true})
	outlet := w.node(t)
	r := &Registrar{Relay: Route{at}, Name: "x", Dial: outlet, Serve: outlet}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	testkit.Within(t, enough, "the demands")
	cancel()
	running.Wait()
	if n := spares.Load(); n > maxWaiting {
		t.Errorf("%d links were made", n)
	}
}

var _ channel.Trust = (*fickle)(nil)

// A link in a mux that a closed node is asked to watch is closed, and nobody waits for himself.
func TestMuxLinkOfAClosedNode(t *testing.T) {
	n := newWorld(t).node(t)
	here, there := faultnet.Pipe()
	client, err := newMux(yamux.Client, here, n.run, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := yamux.Server(there, muxConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l, err := client.open()
	if err != nil {
		t.Fatal(err)
	}
	_ = n.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.track(l)()
	}()
	testkit.Within(t, done, "track")
}

// An outlet's node closes although the relay leaves open what it has refused.
func TestServingNodeClosesBesideItsMux(t *testing.T) {
	w := newWorld(t)
	relay, at := w.listening(t)
	NewRegistry(relay, RegistryConfig{})
	serving := w.node(t)
	registered(t, &Registrar{Relay: Route{at}, Name: "x", Dial: w.node(t), Serve: serving, NoSpares: true})
	s, err := w.node(t).Open(testkit.Context(t), Route{at, Forward("x"), svc("nothing")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // and not before
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(s)
	expectStatus(t, err, wire.NoService, 2, "forward_to_x")
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = serving.Close()
	}()
	testkit.Within(t, closed, "Close")
}

package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/mux"
	"github.com/secureportal/sp/wire"
)

// fickle is trust in everybody but one.
type fickle struct {
	mu      sync.Mutex
	denied  identity.Identifier
	changed chan struct{}
}

func newFickle() *fickle { return &fickle{changed: make(chan struct{})} }

func (f *fickle) Check(peer *identity.Peer, _ trust.As, _ time.Time) (trust.Decision, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if peer.Identifier() == f.denied {
		return trust.Decision{}, fmt.Errorf("denied: %w", trust.ErrNotTrusted)
	}
	return trust.Decision{}, nil
}

func (f *fickle) MightTrust(identity.Claim, trust.As, time.Time) error { return nil }

func (f *fickle) Accept(peer *identity.Peer, as trust.As, now time.Time) (trust.Decision, error) {
	return f.Check(peer, as, now)
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

func trusting(f *fickle) func(*route.Config) {
	return func(c *route.Config) { c.Channel.Trust = f }
}

// registered has r registered until the returned function is called, or the test ends.
func registered(t *testing.T, r *Client) (stop func()) {
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

// An outlet that is not trusted any more loses the links that a relay has led to it, even those of
// a lease that has ended.
func TestDeniedOwnerLosesWhatIsForwarded(t *testing.T) {
	for _, how := range []string{"still registered", "taken over", "session ended"} {
		t.Run(how, func(t *testing.T) {
			w, outlet := newWorld(t), newWorld(t)
			trust := newFickle()
			relay, at := w.listening(t, trusting(trust))
			NewServer(relay, ServerConfig{})
			serving := outlet.node(t, trusting(newFickle()))
			serving.HandleBasics()
			first := outlet.node(t, trusting(newFickle()))
			stop := registered(t, &Client{Relay: route.Route{at}, Name: "x", Dial: first, Serve: serving})
			to := route.Route{at, route.Forward("x"), secure(), svc(route.EchoName)}
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
				second := outlet.node(t, trusting(newFickle()))
				registered(t, &Client{Relay: route.Route{at}, Name: "x", Dial: second, Serve: serving})
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

// A half-close that comes by a mux and goes on by a standby link leaves the answer's way open.
func TestHalfCloseFromMuxToStandbyLink(t *testing.T) {
	w := newWorld(t)
	first, at := w.listening(t)
	NewServer(first, ServerConfig{})
	second, behind := w.listening(t)
	NewServer(second, ServerConfig{})
	far := w.node(t)
	asked := make(chan struct{})
	far.HandleOpen("late", func(_ context.Context, q *route.Request) error {
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
	registered(t, &Client{
		Relay: route.Route{at}, Name: "second", Dial: second, Serve: second, MuxOnly: true,
	})
	registered(t, &Client{Relay: route.Route{behind}, Name: "far", Dial: far, Serve: far})
	// By then the half-close has gone all the way.
	time.AfterFunc(200*time.Millisecond, func() { close(asked) })
	to := route.Route{at, route.Forward("second"), route.Forward("far"), svc("late")}
	got, err := ask(t, w.node(t), to, "hello")
	if err != nil || got != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// claimed claims a name and returns the flow that is to be a mux.
func claimed(t *testing.T, n *route.Node, relay wire.Address) *route.Stream {
	t.Helper()
	to := route.Route{relay, secure(), svc(RegisterName)}
	x := claim{muxOnly: true, name: "x"}
	s, err := n.OpenAndAwait(testkit.Context(t), to, 0, x.appendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netio.Reset(s) })
	if _, err := readKey(s); err != nil {
		t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(testkit.Patience))
	return s
}

// Each ping wants an answer: a claim that pings without end is at its end.
func TestPingsInTheMux(t *testing.T) {
	w := newWorld(t)
	relay, at := w.listening(t)
	NewServer(relay, ServerConfig{})
	s := claimed(t, w.node(t), at)
	// yamux, spec.md: version, type, flags, stream, length
	ping := []byte{0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7}
	var wrote error
	for range 1000 {
		if _, wrote = s.Write(bytes.Repeat(ping, 100)); wrote != nil {
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
	NewServer(relay, ServerConfig{})
	m, err := mux.NewAcceptor(claimed(t, w.node(t), at), mux.Config{Run: w.node(t).Go})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Accept(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the relay's refusal", func() bool {
		s, err := m.Open()
		if err == nil {
			_ = s.Close()
		}
		return errors.Is(err, mux.ErrAcceptsNone)
	})
}

// A relay that asks for ever more standby links and answers none gets a number of them.
func TestDemandsWithoutEnd(t *testing.T) {
	w := newWorld(t)
	relay, at := w.listening(t)
	var spares atomic.Int32
	enough := make(chan struct{})
	relay.Offer(StandbyName, route.Service{Handler: func(ctx context.Context, _ *route.Request) error {
		spares.Add(1)
		<-ctx.Done()
		return nil
	}, Open: true, Waits: true})
	relay.Offer(RegisterName, route.Service{Handler: func(_ context.Context, q *route.Request) error {
		defer close(enough)
		stream := q.Accept()
		if _, err := stream.Write(make([]byte, keySize)); err != nil {
			return err
		}
		mux, err := mux.NewOpener(stream, mux.Config{Run: relay.Go})
		if err != nil {
			return err
		}
		defer mux.Close()
		demand, err := mux.Open()
		if err != nil {
			return err
		}
		for range 1000 {
			if _, err := demand.Write(make([]byte, maxStandby)); err != nil {
				return err
			}
		}
		return nil
	}, Waits: true})
	outlet := w.node(t)
	r := &Client{Relay: route.Route{at}, Name: "x", Dial: outlet, Serve: outlet}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	testkit.Within(t, enough, "the demands")
	cancel()
	running.Wait()
	if n := spares.Load(); n > maxMaking {
		t.Errorf("%d links were made", n)
	}
}

var _ channel.Trust = (*fickle)(nil)

// An outlet's node closes although the relay leaves open what it has refused.
func TestServingNodeClosesBesideItsMux(t *testing.T) {
	w := newWorld(t)
	relay, at := w.listening(t)
	NewServer(relay, ServerConfig{})
	serving := w.node(t)
	registered(t, &Client{
		Relay: route.Route{at}, Name: "x", Dial: w.node(t), Serve: serving, MuxOnly: true,
	})
	to := route.Route{at, route.Forward("x"), svc("nothing")}
	s, err := w.node(t).Open(testkit.Context(t), to, 0)
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

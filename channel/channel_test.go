package channel

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is two endpoints over loopback TCP.
type pair struct {
	initiator, responder *Endpoint
	listener             net.Listener
	handle               Handler
	accept               func(string) error
	served               chan error
}

// anyName accepts whatever name the initiator believes it has reached.
func anyName(string) error { return nil }

func newPair(t testing.TB, a, b Config) *pair {
	t.Helper()
	p := &pair{served: make(chan error, 1000), accept: anyName, handle: echo}
	unhurried(&a, &b)
	var err error
	if p.initiator, err = New(a); err != nil {
		t.Fatal(err)
	}
	if p.responder, err = New(b); err != nil {
		t.Fatal(err)
	}
	p.listener = testkit.Listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.serve(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		_ = p.listener.Close()
		_ = p.initiator.Close()
		_ = p.responder.Close()
		<-done
	})
	return p
}

func (p *pair) serve(ctx context.Context) {
	served := make(chan struct{})
	links := 0
	for {
		c, err := p.listener.Accept()
		if err != nil {
			break
		}
		links++
		go func() {
			defer func() { served <- struct{}{} }()
			handle := func(ctx context.Context, f *Flow) { p.handle(ctx, f) }
			err := p.responder.Serve(ctx, netio.Wrap(c), p.accept, func() {}, handle)
			select {
			case p.served <- err:
			default: // nobody asks
			}
		}()
	}
	for range links {
		<-served
	}
}

func (p *pair) dial(context.Context) (Conn, error) {
	c, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		return nil, err
	}
	return netio.Wrap(c), nil
}

func samePair(t testing.TB) *pair { return survivingPair(t, 0) }

// survivingPair is samePair, whose flows outlive their links for a time.
func survivingPair(t testing.TB, survive time.Duration) *pair {
	id := testkit.NewIdentity(t)
	config := Config{Identity: id, Trust: testkit.Trusting(t, id), Survive: survive}
	return newPair(t, config, config)
}

func echo(_ context.Context, f *Flow) {
	if _, err := io.Copy(f, f); err == nil {
		_ = f.CloseWrite()
	}
}

func (p *pair) session(t testing.TB) *Session {
	t.Helper()
	s, err := p.initiator.Initiate(t.Context(), "", trust.As{}, p.dial)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func roundTrip(t testing.TB, s *Session, data []byte) {
	t.Helper()
	f, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := f.Write(data)
		if err == nil {
			err = f.CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("%d bytes came back of %d, or others", len(got), len(data))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFlowsShareAHandshakeAndALink(t *testing.T) {
	p := samePair(t)
	s := p.session(t)
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	for _, size := range []int{1, 1000, maxData, maxData + 1, len(data)} {
		roundTrip(t, s, data[:size])
	}
	if n := s.idleLinks(); n != 1 {
		t.Errorf("%d idle links, want 1", n)
	}
	if _, err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUntrusted(t *testing.T) {
	a, b := testkit.NewIdentity(t), testkit.NewIdentity(t)
	t.Run("by the responder", func(t *testing.T) {
		p := newPair(t, Config{Identity: a, Trust: testkit.Trusting(t, a, b.Identifier())},
			Config{Identity: b, Trust: testkit.Trusting(t, b)})
		_, err := p.initiator.Initiate(t.Context(), "", trust.As{}, p.dial)
		refused, ok := errors.AsType[*RefusedError](err)
		if !errors.Is(err, ErrRefusedByPeer) || !errors.Is(err, trust.ErrNotTrusted) || !ok ||
			*refused != (RefusedError{b.Identifier(), a.Identifier()}) {
			t.Errorf("got %v", err)
		}
		if err := <-p.served; !errors.Is(err, trust.ErrNotTrusted) {
			t.Errorf("responder: %v", err)
		}
	})
	t.Run("by the initiator", func(t *testing.T) {
		p := newPair(t, Config{Identity: a, Trust: testkit.Trusting(t, a)},
			Config{Identity: b, Trust: testkit.Trusting(t, b, a.Identifier())})
		_, err := p.initiator.Initiate(t.Context(), "", trust.As{}, p.dial)
		if errors.Is(err, ErrRefusedByPeer) || !errors.Is(err, trust.ErrNotTrusted) {
			t.Errorf("got %v", err)
		}
		if err := <-p.served; err == nil {
			t.Error("the responder got a session")
		}
	})
}

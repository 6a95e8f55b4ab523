package transport_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// The one line that fifo_linux_test.go needs to be a transport. Of this package it would be a line
// of the registry.
func init() { transport.Register("fifo", newFIFO) }

// seam is a node that listens at an address, and another one of the same identity.
type seam struct {
	far, near *route.Node
	at        transport.Address
}

func newNode(t *testing.T, id *identity.Identity, limits admission.Limits) *route.Node {
	t.Helper()
	n, err := route.NewNode(route.Config{
		Channel: channel.Config{Identity: id, Trust: testkit.Trusting(t, id)},
		Logger:  slog.New(slog.DiscardHandler), Limits: limits,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func newSeam(t *testing.T, listen string, limits admission.Limits) *seam {
	t.Helper()
	id := testkit.NewIdentity(t)
	s := &seam{far: newNode(t, id, limits), near: newNode(t, id, admission.Limits{})}
	s.far.HandleBasics()
	s.at = s.listen(t, listen)
	return s
}

// listen has the far node listen at one more address, and returns where that is.
func (s *seam) listen(t *testing.T, text string) transport.Address {
	t.Helper()
	a, err := transport.ParseListen(text, "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.far.Listen(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { s.far.Serve(context.Background(), l) })
	t.Cleanup(func() {
		_ = s.far.Close()
		serving.Wait()
	})
	at, ok := transport.FromAddr(l.Addr())
	if !ok {
		t.Fatalf("it listens at %v", l.Addr())
	}
	return at
}

// open opens a route that begins with the far node's address.
func (s *seam) open(t *testing.T, r route.Route) *route.Stream {
	t.Helper()
	stream, err := s.near.OpenAndAwait(testkit.Context(t), r, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	testkit.Hurry(t, stream)
	return stream
}

// A transport is one file and one line: a route over it has secure channels, half-close both ways,
// and nothing else knows which transport that is.
func TestTransportSeam(t *testing.T) {
	directory := t.TempDir()
	s := newSeam(t, "fifo:"+directory, admission.Limits{})
	const size = 1 << 20
	s.far.Handle("late", func(_ context.Context, q *route.Request) error {
		stream := q.Accept()
		if err := stream.Flush(); err != nil {
			return err
		}
		if n, err := io.Copy(io.Discard, stream); n != size || err != nil {
			return errors.Join(err, errors.New("not all has arrived"))
		}
		_, err := stream.Write(make([]byte, size)) // only now that the other direction has ended
		return errors.Join(err, stream.CloseWrite())
	})
	step := "/fifo/" + url.PathEscape(directory)
	to, err := route.Parse(step + "/secure/api/service/late")
	if err != nil {
		t.Fatal(err)
	}
	if got := route.Format(to); !strings.HasPrefix(got, step+"/secure") || to[0] != s.at {
		t.Errorf("the route is %s", got)
	}
	for range 3 { // in one session, each on a link that is there already or made for it
		stream := s.open(t, to)
		testkit.Write(t, stream, make([]byte, size))
		if err := stream.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(stream); len(got) != size || err != nil {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
	}
	if hops := route.Hops(to); len(hops) != 1 || hops[0].Where != "fifo:"+directory {
		t.Errorf("hops are %v", hops)
	}
}

// Nobody listens, and an address that is never sent may only be the first.
func TestTransportSeamErrors(t *testing.T) {
	near := newNode(t, testkit.NewIdentity(t), admission.Limits{})
	at := transport.Address{Kind: wire.Local, Name: "fifo:" + t.TempDir()}
	var dial *route.DialError
	_, err := near.Open(testkit.Context(t), route.ToOutlet(at), 0)
	if !errors.As(err, &dial) || dial.Where != at.Name {
		t.Errorf("nobody listens, and Open says %v", err)
	}
	relay, err := transport.Parse("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := near.Open(testkit.Context(t), route.Route{relay, at}, 0); err != route.ErrLocal {
		t.Errorf("what only the dialer knows is sent: %v", err)
	}
}

// Limits tell the transport's sources from each other and from those of other transports.
func TestTransportSeamLimits(t *testing.T) {
	s := newSeam(t, "fifo:"+t.TempDir(), admission.Limits{PerSource: 1})
	s.far.HandleOpen("hold", func(ctx context.Context, q *route.Request) error {
		stream := q.Accept()
		if err := stream.Flush(); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, stream)
		return err
	})
	hold := wire.Address{Kind: wire.Service, Name: "hold"}
	first := s.open(t, route.Route{s.at, hold})
	ctx := testkit.Context(t)
	_, err := s.near.OpenAndAwait(ctx, route.Route{s.at, hold}, 0, nil)
	var status *route.StatusError
	if !errors.As(err, &status) || status.Code != wire.Busy {
		t.Fatalf("a second link from one source: %v", err)
	}
	for _, other := range []string{"127.0.0.1:0", "unix:" + t.TempDir() + "/s"} {
		s.open(t, route.Route{s.listen(t, other), hold})
	}
	_ = first.Close()
	for { // until the far node has noticed
		again, err := s.near.OpenAndAwait(ctx, route.Route{s.at, hold}, 0, nil)
		if err == nil {
			_ = again.Close()
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

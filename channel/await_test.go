package channel

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
)

// awaited is what AwaitReset of a responder's flow returned. The initiator has ended its direction.
func awaitedFlow(
	t *testing.T, wrap func(net.Conn) net.Conn,
) (initiator, responder *Flow, awaited <-chan error) {
	t.Helper()
	id := testkit.NewIdentity(t)
	config := Config{Identity: id, Trust: testkit.Trusting(t, id)}
	near, far := endpointOf(t, config), endpointOf(t, config)
	l := testkit.Listen(t)
	flows, got, serving := make(chan *Flow, 1), make(chan error, 1), make(chan struct{})
	handle := func(_ context.Context, f *Flow) {
		flows <- f
		if _, err := io.Copy(io.Discard, f); err != nil {
			got <- err
			return
		}
		got <- f.AwaitReset()
	}
	links := 0
	ended := make(chan struct{})
	go func() {
		defer close(serving)
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			links++
			go func() {
				defer func() { ended <- struct{}{} }()
				_ = far.Serve(t.Context(), wrap(c), anyName, func() {}, handle)
			}()
		}
		for range links {
			<-ended
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		_, _ = near.Close(), far.Close()
		<-serving
	})
	s, err := near.Initiate(t.Context(), "", trust.As{}, func(context.Context) (Conn, error) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, err
		}
		return netio.Wrap(c), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return f, <-flows, got
}

func endpointOf(t *testing.T, config Config) *Endpoint {
	t.Helper()
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// blind is a link that cannot tell whether it is reset.
type blind struct{ net.Conn }

func TestAwaitReset(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"socket": func(c net.Conn) net.Conn { return netio.Wrap(c) },
		"blind":  func(c net.Conn) net.Conn { return blind{c} },
	} {
		for event, test := range map[string]struct {
			act  func(responder *Flow) error
			want error
		}{
			"own end":     {(*Flow).CloseWrite, nil},
			"own reset":   {(*Flow).Reset, net.ErrClosed},
			"session end": {func(r *Flow) error { return r.Session().Close() }, net.ErrClosed},
			"deadline": {
				func(r *Flow) error { return r.SetReadDeadline(time.Unix(1, 0)) },
				os.ErrDeadlineExceeded,
			},
		} {
			t.Run(name+", "+event, func(t *testing.T) {
				for range 5 { // before or after the waiting begins
					_, responder, awaited := awaitedFlow(t, wrap)
					if err := test.act(responder); err != nil && event != "session end" {
						t.Fatal(err)
					}
					if err := testkit.Within(t, awaited, "AwaitReset"); !errors.Is(err, test.want) {
						t.Fatalf("got %v", err)
					}
				}
			})
		}
	}
}

// Who waits for a reset before the other end has ended its direction is not in the way when both
// end.
func TestAwaitResetBeforeTheEnd(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, l *lab) {
		flows := l.accepted()
		near, far := l.both(l.session(), flows)
		waited := make(chan error, 1)
		go func() { waited <- far.AwaitReset() }()
		synctest.Wait()
		_ = far.CloseWrite()
		_ = near.CloseWrite()
		if err := <-waited; err != nil {
			t.Error(err)
		}
		_ = near.Close()
		far.release()
	})
}

package route

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/wire"
)

// faraway is a node that serves one request while it shuts down, at the far end of a session over
// lines that take their time. It is for a bubble.
type faraway struct {
	t       *testing.T
	far     *Node
	near    *Node
	links   *sync.WaitGroup
	session *channel.Session
	release chan struct{} // ends the request
	down    chan struct{} // closed when Shutdown has returned
	oneWay  time.Duration
}

func inFarawayBubble(t *testing.T, oneWay time.Duration, f func(a *faraway)) {
	t.Helper()
	testkit.Bubble(t, func(t *testing.T) {
		w := newWorld(t)
		a := &faraway{
			t: t, far: w.node(t, func(c *Config) { c.ByName = true }), oneWay: oneWay,
			release: make(chan struct{}), down: make(chan struct{}),
		}
		defer a.far.Claim("/name")()
		a.far.Handle("svc", func(_ context.Context, q *Request) error {
			err := q.Accept().Flush()
			<-a.release
			return err
		})
		var links sync.WaitGroup
		defer links.Wait()
		a.links, a.near = &links, w.node(t)
		session, err := a.initiate()
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		a.session = session
		f(a)
	})
}

// initiate makes a session with the node.
func (a *faraway) initiate() (*channel.Session, error) {
	to, line := Route{secure()}, faultnet.Config{Plan: faultnet.Line(a.oneWay, 0)}
	dial := func(context.Context) (channel.Conn, error) {
		here, there, link := faultnet.FaultyPipe(line)
		a.t.Cleanup(func() { _ = link.Close() })
		a.links.Go(func() { a.far.serveLink(there, nil, nil, nil) })
		return opened(here, &answerer{route: to}, opening(a.t, wire.Message{Onward: to})), nil
	}
	return a.near.endpoint.Initiate(a.t.Context(), "/name", trust.As{}, dial)
}

// ask asks for the node's service in the session, whether that is going away or not, and has the
// rest of what it says come later.
func (a *faraway) ask(later time.Duration) *Stream {
	a.t.Helper()
	flow, err := a.session.Open(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	m := wire.Message{Onward: Route{svc("svc")}}
	said := append(opening(a.t, m), "hello"...)
	testkit.Write(a.t, flow, string(said[:2]))
	time.Sleep(later)
	testkit.Write(a.t, flow, string(said[2:]))
	return opened(flow, &answerer{route: m.Onward, inside: true}, nil)
}

// Who asks in the last instant of a node that shuts down, when it has said long ago that it goes
// away, is refused in order: he may say what he has said to somebody else then.
func TestShutdownRefusesTheLast(t *testing.T) {
	const oneWay = 600 * time.Millisecond
	for name, last := range map[string]struct{ released, later time.Duration }{
		"has come":            {oneWay + time.Millisecond, 0},
		"is on its way":       {oneWay / 2, 0},
		"is still being said": {2 * oneWay, 2*oneWay + leaveTimeout + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inFarawayBubble(t, oneWay, func(a *faraway) {
				first := a.ask(0)
				defer first.Close()
				if err := first.Await(a.t.Context()); err != nil {
					a.t.Fatal(err)
				}
				go func() {
					defer close(a.down)
					_ = a.far.Shutdown(context.Background())
				}()
				time.Sleep(time.Minute)
				var released time.Time
				time.AfterFunc(last.released, func() {
					released = time.Now()
					close(a.release)
					_ = first.CloseWrite()
				})
				s := a.ask(last.later)
				defer s.Close()
				expectStatus(a.t, s.Await(a.t.Context()), wire.GoingAway, 0, "")
				_ = s.Close()
				<-a.down
				if took := time.Since(released); took > leaveTimeout+lastAnswerTimeout {
					a.t.Errorf("the node is there for %v", took)
				}
			})
		})
	}
}

// A node that is about to end has nobody begin a session any more, and does not wait for long for
// who has begun to ask and says nothing more.
func TestShutdownEndsInTime(t *testing.T) {
	const oneWay = time.Millisecond
	inFarawayBubble(t, oneWay, func(a *faraway) {
		close(a.release)
		flow, err := a.session.Open(a.t.Context())
		if err != nil {
			a.t.Fatal(err)
		}
		testkit.Write(a.t, flow, "\x00")
		began := time.Now()
		go func() {
			defer close(a.down)
			_ = a.far.Shutdown(context.Background())
		}()
		time.Sleep(leaveTimeout + leaveTimeout/2)
		if _, err := a.initiate(); !errors.Is(err, channel.ErrGoingAway) {
			a.t.Errorf("somebody who asks for a session: %v", err)
		}
		<-a.down
		if took := time.Since(began); took > 2*leaveTimeout+lastAnswerTimeout {
			a.t.Errorf("the node is there for %v", took)
		}
	})
}

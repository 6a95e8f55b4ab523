package route

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// failover runs the paths that routes name until the test ends.
func failover(t testing.TB, n *Node, routes ...Route) *Failover {
	t.Helper()
	r := n.NewFailover(routes)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		testkit.Within(t, done, "Run")
	})
	return r
}

func expectUp(t testing.TB, r *Failover) {
	t.Helper()
	s, err := r.OpenWith(testkit.Context(t), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Await(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
}

func TestFailoverWaitsForTheFarEnd(t *testing.T) {
	w := newWorld(t)
	at := nowhere(t)
	r := failover(t, w.node(t), Route{at, secure(), svc(EchoName)})
	testkit.Eventually(t, "the first failure", func() bool { return r.all()[0].lastError() != nil })

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var dial *DialError
	if _, err := r.OpenWith(ctx, 0, nil); !errors.As(err, &dial) {
		t.Errorf("got %v, want why the far end is not there", err)
	}

	opened := make(chan error, 1)
	go func() {
		s, err := r.OpenWith(testkit.Context(t), 0, nil)
		if err == nil {
			err = s.Await(testkit.Context(t))
			_ = s.Close()
		}
		opened <- err
	}()
	l, err := net.Listen("tcp", transport.Format(at))
	if err != nil {
		t.Fatal(err)
	}
	far := w.node(t)
	far.HandleBasics()
	serve(t, far, l)
	if err := testkit.Within(t, opened, "Open"); err != nil {
		t.Error(err)
	}
	if err := r.Await(testkit.Context(t)); err != nil {
		t.Error(err)
	}
}

func TestFailoverSaysWhyTheServiceIsNotThere(t *testing.T) {
	w := newWorld(t)
	_, at := w.listening(t)
	r := failover(t, w.node(t), Route{at, secure(), svc("nothing")})
	testkit.Eventually(t, "the first failure", func() bool { return r.all()[0].lastError() != nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	expectStatus(t, r.Await(ctx), wire.NoService, 1, transport.Format(at))
}

func TestFailoverWithoutAnAttemptSaysTheContext(t *testing.T) {
	n := newWorld(t).node(t)
	r := n.NewFailover([]Route{{nowhere(t), secure(), svc("x")}}) // nobody runs it
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if err := r.Await(ctx); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestFailoverMakesANewSession(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.HandleBasics()
	near := w.node(t)
	to := Route{at, secure(), svc(EchoName)}
	r := failover(t, near, to)
	expectUp(t, r)
	first, err := near.Session(testkit.Context(t), to)
	if err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	expectUp(t, r)
	second, err := near.Session(testkit.Context(t), to)
	if err != nil || second == first {
		t.Errorf("the lost session is used again: %v", err)
	}
}

// A session that takes the place of a path's is not believed to lead to the service because the one
// before did.
func TestFailoverAsksInTheNextSession(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	var sick atomic.Bool
	same := func(_ context.Context, q *Request) error { return reply(q, func([]byte) {}) }
	far.Offer("svc", Service{Handler: same, Admit: func(*Request) error {
		if sick.Load() {
			return Refuse(wire.Unreachable, "the target is not well")
		}
		return nil
	}})
	near := w.node(t)
	to := Route{at, secure(), svc("svc")}
	f := failover(t, near, to)
	expectUp(t, f)
	next := func() {
		t.Helper()
		before := near.successor(to, nil)
		segs := segments(to)
		if _, err := near.session(testkit.Context(t), to, segs, len(segs)-2, before); err != nil {
			t.Fatal(err)
		}
		if !before.Retired() {
			t.Fatal("the session is not replaced")
		}
	}
	sick.Store(true)
	next()
	testkit.Eventually(t, "the path is down", func() bool { return !f.all()[0].isUp() })
	expectStatus(t, f.all()[0].lastError(), wire.Unreachable, 1, transport.Format(at))
	sick.Store(false)
	testkit.Eventually(t, "the path is up again", func() bool {
		f.RetryNow()
		return f.all()[0].isUp()
	})
	next()
	expectUp(t, f)
}

func TestFailoverTakesTheFirstThatIsUp(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.HandleBasics()
	second, other := w.listening(t)
	second.HandleBasics()
	near := w.node(t)
	r := failover(t, near, Route{at, secure(), svc(EchoName)},
		Route{other, secure(), svc(EchoName)})
	takes := func(a wire.Address) func() bool {
		return func() bool {
			k, _ := r.best()
			return k != nil && k.route[0] == a
		}
	}
	testkit.Eventually(t, "the first path", takes(at))
	expectUp(t, r)
	_ = far.Close()
	testkit.Eventually(t, "the second path", takes(other))
	expectUp(t, r)
}

func TestFailoverEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.HandleBasics()
	r := w.node(t).NewFailover([]Route{{at, secure(), svc(EchoName)}})
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	if err := r.Await(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	pulse := testkit.StartPulse()
	defer pulse.Stop()
	began := time.Now()
	cancel()
	testkit.Within(t, done, "Run")
	if d := time.Since(began); d > pulse.Stretch(lastRetry/2, began) {
		t.Errorf("it took %v to end", d)
	}
	if k, _ := r.best(); k != nil {
		t.Error("a path is up that nobody keeps")
	}
}

// Paths come and go while streams are open: what is on one that has gone goes on, and its session
// ends with that.
func TestFailoverTakesOtherRoutes(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	far.HandleBasics()
	second, other := w.listening(t)
	second.HandleBasics()
	near := w.node(t)
	before, after := Route{at, secure(), svc(EchoName)}, Route{other, secure(), svc(EchoName)}
	f := failover(t, near, before)
	old, err := f.OpenWith(testkit.Context(t), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := old.Await(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
	kept := f.all()[0]
	f.SetRoutes([]Route{after, before})
	if f.all()[1] != kept {
		t.Error("a path that stays is made anew")
	}
	testkit.Eventually(t, "the new path", func() bool { return f.IsUp(after) })
	f.SetRoutes([]Route{after})
	if f.IsUp(before) {
		t.Error("a path is up that is none any more")
	}
	session := old.Session()
	testkit.Within(t, session.GoingAway(), "the session's going")
	if _, err := old.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("still here"))
	if _, err := io.ReadFull(old, got); err != nil || string(got) != "still here" {
		t.Errorf("%q, %v", got, err)
	}
	_ = old.Close()
	testkit.Within(t, session.Done(), "the session's end")
	expectUp(t, f)
}

package relay

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// A relay closes the standby links that nobody needs, but for a few, and never one that is in use.
func TestStandbyLinksNobodyNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Lease{ready: make(chan struct{})}
		close(r.ready)
		used := make(chan struct{})
		var closed atomic.Int32
		for range maxStandby {
			_, far := faultnet.Pipe()
			p := newParked(far)
			if !r.parked.park(p) {
				t.Fatal("there are enough")
			}
			go func() {
				if r.parked.sleep(p) {
					p.awaitOver()
					close(used)
				} else {
					closed.Add(1)
				}
			}()
		}
		next, err := r.link(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(standbyIdle / 2)
		next.use()()
		<-used
		time.Sleep(standbyIdle)
		kept := func() []*parked {
			r.parked.mu.Lock()
			defer r.parked.mu.Unlock()
			return slices.Clone(r.parked.links)
		}
		if n, kept := closed.Load(), len(kept()); n != maxStandby-minStandby-1 || kept != minStandby {
			t.Errorf("%d of %d are closed, and %d kept", n, maxStandby, kept)
		}
		time.Sleep(time.Hour)
		if n := len(kept()); n != minStandby {
			t.Errorf("%d are kept", n)
		}
		for _, p := range kept() {
			p.giveUp()
		}
	})
}

// An outlet keeps fewer standby links when the relay closes them, and does not make others at once.
func TestStandbyLinksClosedByRelay(t *testing.T) {
	t.Run("links", func(t *testing.T) { standbyLinksClosedByRelay(t) })
	t.Run("flows", func(t *testing.T) { standbyLinksClosedByRelay(t, secure()) })
}

func standbyLinksClosedByRelay(t *testing.T, step ...wire.Address) {
	t.Helper()
	t.Parallel()
	w := newWorld(t)
	relay, at := w.listening(t)
	var made atomic.Int32
	again := make(chan struct{}, maxMaking)
	relay.Offer(StandbyName, route.Service{Handler: func(ctx context.Context, q *route.Request) error {
		if made.Add(1) <= maxStandby {
			return q.Accept().Flush()
		}
		again <- struct{}{}
		<-ctx.Done()
		return nil
	}, Open: true, Waits: true})
	outlet := w.node(t)
	c := &Client{Relay: append(route.Route{at}, step...), Name: "x", Dial: outlet, Serve: outlet}
	p := newStandby(c, standbyKey{}, nil)
	p.demand(maxStandby)
	ctx, cancel := context.WithCancel(context.Background())
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer cancel()
	began := time.Now()
	keeping.Go(
		func() { p.keep(ctx, func(*route.Stream, *route.Request, func()) bool { return false }) },
	)
	for range minStandby {
		testkit.Within(t, again, "another standby link")
	}
	if took := time.Since(began); took < standbyRetry {
		t.Errorf("links were made again after %v", took)
	}
	testkit.Eventually(t, "as few are kept as without demand", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.want == minStandby && p.waiting == minStandby
	})
}

// An outlet that shuts down claims nothing any more: by then the name may be another process's.
func TestNoClaimWhileDraining(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	relay, at := w.listening(t)
	NewServer(relay, ServerConfig{})
	outlet := w.node(t)
	app, _ := faultnet.Pipe()
	end, err := outlet.Begin(app)
	if err != nil {
		t.Fatal(err)
	}
	var stopping sync.WaitGroup
	defer stopping.Wait()
	defer end()
	stopping.Go(func() { _ = outlet.Shutdown(testkit.Context(t)) })
	testkit.Eventually(t, "the outlet is shutting down", outlet.IsDraining)
	registered := false
	r := &Client{
		Relay: route.Route{at}, Name: "x", Dial: outlet, Serve: outlet,
		Registered: func() { registered = true },
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(testkit.Context(t))
	}()
	testkit.Within(t, ended, "the end of the claim")
	if registered {
		t.Error("it has claimed its name")
	}
}

// A standby link may be a flow, which cannot outlive the goroutine that serves it: it is used all
// the same, and closed when that is over.
func TestStandbyFlowIsUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	relay, at := w.listening(t)
	relay.HandleBasics()
	NewServer(relay, ServerConfig{})
	outlet := w.node(t)
	outlet.HandleBasics()
	registered := make(chan struct{}, 1)
	c := &Client{
		Relay: route.Route{at, secure()}, Name: "x", Dial: outlet, Serve: outlet,
		Registered: func() { registered <- struct{}{} },
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { c.Run(ctx) })
	testkit.Within(t, registered, "the registration")
	near := w.node(t)
	to := route.Route{at, route.Forward("x"), secure(), svc(route.EchoName)}
	for range 3 {
		if got, err := ask(t, near, to, "hello"); got != "hello" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

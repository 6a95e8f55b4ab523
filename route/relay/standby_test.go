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

// parkMany parks standby links in l. closed counts those that are given up.
func parkMany(t *testing.T, l *Lease, n int, closed *atomic.Int32) {
	t.Helper()
	for range n {
		_, far := faultnet.Pipe()
		p := newParked(far)
		if !l.parked.park(p) {
			t.Fatal("there are enough")
		}
		go func() {
			if l.parked.sleep(p) {
				p.awaitOver()
			} else {
				closed.Add(1)
			}
		}()
	}
}

// A relay closes the standby links that nobody needs, but for a few, and never one that is in use.
func TestStandbyLinksNobodyNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Lease{ready: make(chan struct{})}
		close(r.ready)
		r.parked.begin()
		var closed atomic.Int32
		parkMany(t, r, maxStandby, &closed)
		next, err := r.link(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(standbyIdle / 2)
		next.use()()
		time.Sleep(standbyIdle)
		kept := func() []*parked {
			r.parked.mu.Lock()
			defer r.parked.mu.Unlock()
			return slices.Clone(r.parked.links)
		}
		if n, kept := closed.Load(), len(kept()); n != maxStandby-fewStandby-1 || kept != fewStandby {
			t.Errorf("%d of %d are closed, and %d kept", n, maxStandby, kept)
		}
		time.Sleep(time.Hour)
		if n := len(kept()); n != fewStandby {
			t.Errorf("%d are kept", n)
		}
		r.parked.close()
	})
}

// A relay closes all standby links of a name that nobody has used for a while, and tells the outlet
// before. An outlet that does not listen makes others, which are not closed at once: or it would do
// so again and again.
func TestStandbyLinksOfUnusedName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Lease{ready: make(chan struct{})}
		var told, closed atomic.Int32
		r.parked.unused, r.parked.tellNone = time.Now(), func() { told.Add(1) }
		expect := func(when string, wantTold, wantClosed int32) {
			t.Helper()
			synctest.Wait()
			if told, closed := told.Load(), closed.Load(); told != wantTold || closed != wantClosed {
				t.Errorf("%s: told %d times, and %d closed", when, told, closed)
			}
		}
		parkMany(t, r, fewStandby, &closed)
		time.Sleep(standbyUnused - time.Second)
		expect("not long enough", 0, 0)
		r.parked.begin()
		time.Sleep(time.Hour)
		expect("somebody uses the name", 0, 0)
		r.parked.end()
		time.Sleep(standbyUnused - time.Second)
		expect("somebody has used the name", 0, 0)
		time.Sleep(time.Second)
		expect("nobody has used it", 1, 0)
		time.Sleep(standbyTold)
		expect("the outlet has been told", 1, fewStandby)
		parkMany(t, r, fewStandby, &closed)
		time.Sleep(standbyUnused - time.Second)
		expect("the outlet makes others", 1, fewStandby)
		time.Sleep(time.Second)
		expect("nobody has used these", 2, fewStandby)
		r.parked.begin() // who comes now finds them
		time.Sleep(time.Hour)
		expect("somebody came at the last moment", 2, fewStandby)
		r.parked.close()
	})
}

// An outlet makes no standby link before one is missing, a few then, and none when it is told so.
func TestStandbyLinksAsDemanded(t *testing.T) {
	t.Parallel()
	h := newHolders(t)
	stop := registered(t, h.process())
	defer stop()
	lease := func() *Lease {
		a, err := h.names.Lookup(t.Context(), "x")
		if err != nil || a.Lease == nil {
			t.Fatalf("%+v, %v", a, err)
		}
		return a.Lease
	}
	waiting := func() int {
		p := &lease().parked
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.links)
	}
	to := route.Route{h.at, route.Forward("x"), secure(), svc(route.EchoName)}
	use := func() {
		if got, err := ask(t, h.node(t), to, "hello"); got != "hello" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if n := waiting(); n > 0 {
		t.Errorf("%d before anybody needs one", n)
	}
	for range 2 {
		use()
		testkit.Eventually(t, "a few", func() bool { return waiting() == fewStandby })
		l := lease()
		l.demand(demandNone)
		testkit.Eventually(t, "none", func() bool { // what it has made meanwhile is among them
			none := true
			for p := l.parked.take(); p != nil; p = l.parked.take() {
				p.giveUp()
				none = false
			}
			return none
		})
	}
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
	for range fewStandby {
		testkit.Within(t, again, "another standby link")
	}
	if took := time.Since(began); took < standbyRetry {
		t.Errorf("links were made again after %v", took)
	}
	testkit.Eventually(t, "as few are kept as without demand", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.want == fewStandby && p.waiting == fewStandby
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

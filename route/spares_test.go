package route

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
)

// A relay closes the spare links that nobody needs, but for a few, and never one that is in use.
func TestSparesNobodyNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registration{ready: make(chan struct{})}
		close(r.ready)
		used := make(chan struct{})
		var closed atomic.Int32
		for range maxSpares {
			_, far := faultnet.Pipe()
			p := &parked{conn: far, work: make(chan func(), 1)}
			if !r.park(p) {
				t.Fatal("there are enough")
			}
			go func() {
				if work := r.await(p); work != nil {
					work()
				} else {
					closed.Add(1)
				}
			}()
		}
		_, do, err := r.link(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(spareShrink / 2)
		do(func() { close(used) })
		<-used
		time.Sleep(spareShrink)
		if n := closed.Load(); n != maxSpares-minSpares-1 || len(r.spares) != minSpares {
			t.Errorf("%d of %d are closed, and %d kept", n, maxSpares, len(r.spares))
		}
		time.Sleep(time.Hour)
		if len(r.spares) != minSpares {
			t.Errorf("%d are kept", len(r.spares))
		}
		for _, p := range r.spares {
			close(p.work)
		}
	})
}

// An outlet keeps fewer spare links when the relay closes them, and does not make others at once.
func TestSparesClosedByRelay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	relay, at := w.listening(t)
	var made atomic.Int32
	again := make(chan struct{}, maxWaiting)
	relay.offer(SpareName, service{handler: func(ctx context.Context, q *Request) error {
		if made.Add(1) <= maxSpares {
			return q.Accept().Flush()
		}
		again <- struct{}{}
		<-ctx.Done()
		return nil
	}, open: true, waits: true})
	outlet := w.node(t)
	p := newSpares(&Registrar{Relay: Route{at}, Name: "x", Dial: outlet, Serve: outlet}, make([]byte, ticketSize))
	p.short(maxSpares)
	ctx, cancel := context.WithCancel(context.Background())
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer cancel()
	began := time.Now()
	keeping.Go(func() { p.keep(ctx, func(*Stream, *Request) bool { return false }) })
	for range minSpares {
		testkit.Within(t, again, "another spare link")
	}
	if took := time.Since(began); took < spareRetry {
		t.Errorf("links were made again after %v", took)
	}
	testkit.Eventually(t, "as few are kept as without demand", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.want == minSpares && p.waiting == minSpares
	})
}

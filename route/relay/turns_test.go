package relay

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
)

// Of many who want something of one relay, a few have their turn, the first is first, and who goes
// away is passed over. Those at another relay do not wait for them.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all turns
		var now, most atomic.Int64
		var mu sync.Mutex
		var order []int
		var tasks sync.WaitGroup
		const n = 3 * claimsAtOnce
		for k := range n {
			synctest.Wait()
			tasks.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				if k%10 == 5 {
					ctx, cancel = context.WithTimeout(t.Context(), time.Second/2)
				}
				defer cancel()
				done, ok := all.take(ctx, "here")
				if !ok {
					return
				}
				most.Store(max(most.Load(), now.Add(1)))
				mu.Lock()
				order = append(order, k)
				mu.Unlock()
				time.Sleep(time.Second + time.Duration(k)) // no two end at once
				now.Add(-1)
				done()
			})
		}
		synctest.Wait()
		if done, ok := all.take(t.Context(), "elsewhere"); ok {
			done()
		} else {
			t.Error("no turn elsewhere")
		}
		tasks.Wait()
		if most.Load() != claimsAtOnce {
			t.Errorf("%d at once, want %d", most.Load(), claimsAtOnce)
		}
		for i := 1; i < len(order); i++ {
			if order[i] < order[i-1] {
				t.Fatalf("out of order: %v", order)
			}
		}
		if len(all.at) > 0 {
			t.Errorf("something is left of %d relays", len(all.at))
		}
	})
}

// slowDirectory takes its time for claims, and counts those that wait.
type slowDirectory struct {
	*Memory
	now, most atomic.Int64
	enough    chan struct{} // gets something when many wait
	goOn      chan struct{}
}

func (d *slowDirectory) Claim(ctx context.Context, l *Lease) (release func(), err error) {
	n := d.now.Add(1)
	defer d.now.Add(-1)
	for m := d.most.Load(); n > m && !d.most.CompareAndSwap(m, n); m = d.most.Load() {
	}
	if n == claimsAtOnce {
		select {
		case d.enough <- struct{}{}:
		default:
		}
	}
	<-d.goOn
	return d.Memory.Claim(ctx, l)
}

// A process claims no more than some names at a time, and has all of them in the end, of which none
// has been waited for too long.
func TestClaimsInTurn(t *testing.T) {
	w := newWorld(t)
	n, at := w.listening(t)
	d := &slowDirectory{
		Memory: NewMemory(MemoryConfig{NamesPerIdentity: 1000}),
		enough: make(chan struct{}, 1), goOn: make(chan struct{}),
	}
	NewServer(n, ServerConfig{Directory: d})
	outlet := w.node(t)
	ctx, leave := context.WithCancel(t.Context())
	var running, there sync.WaitGroup
	defer running.Wait()
	defer leave()
	for k := range 2 * claimsAtOnce {
		there.Add(1)
		c := &Client{
			Relay: route.Route{at}, Name: fmt.Sprint("name", k), Dial: outlet, Serve: outlet, MuxOnly: true,
			ClaimTimeout: testkit.Patience, Registered: sync.OnceFunc(there.Done),
			Failed: func(err error) {
				if ctx.Err() == nil {
					t.Error(err)
				}
			},
		}
		running.Go(func() { c.Run(ctx) })
	}
	testkit.Within(t, d.enough, "many claims")
	close(d.goOn)
	all := make(chan struct{})
	go func() {
		there.Wait()
		close(all)
	}()
	testkit.Within(t, all, "all claims")
	if most := d.most.Load(); most > claimsAtOnce {
		t.Errorf("%d claims at once, want %d", most, claimsAtOnce)
	}
}

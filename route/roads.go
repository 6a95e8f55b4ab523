package route

import (
	"context"
	"sync"
	"time"

	"github.com/secureportal/sp/wire"
)

// Roads are several routes to the same service, the best first: all are kept ready, and a stream takes the first that
// is. It is safe for concurrent use.
type Roads struct {
	keepers []*keeper

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, whenever a road opens or closes
	taken   *keeper       // what the log says that new streams take
}

// NewRoads returns the roads that routes name, at least one. They do nothing before Run.
func (n *Node) NewRoads(routes []Route) *Roads {
	r := &Roads{changed: make(chan struct{})}
	for _, to := range routes {
		r.keepers = append(r.keepers, n.newKeeper(to))
	}
	return r
}

// Run keeps the roads until ctx ends, and returns when it has stopped doing so.
func (r *Roads) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for _, k := range r.keepers {
		tasks.Go(func() { k.run(ctx, r.notify) })
	}
}

func (r *Roads) notify() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
	best := r.firstOpen()
	if best == nil || best == r.taken {
		return
	}
	if r.taken != nil {
		best.node.logger.Info("new streams take another road", "route", Format(best.route))
	}
	r.taken = best
}

// best returns the first road that is open, or nil and a channel that is closed when that may have changed.
func (r *Roads) best() (*keeper, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.firstOpen(), r.changed
}

func (r *Roads) firstOpen() *keeper {
	for _, k := range r.keepers {
		if k.isUp() {
			return k
		}
	}
	return nil
}

// hurry tells the keepers that somebody waits.
func (r *Roads) hurry() {
	for _, k := range r.keepers {
		select {
		case k.hurry <- struct{}{}:
		default:
		}
	}
}

// Await returns when a road is open, or why none is when ctx ends. It has nobody make haste.
func (r *Roads) Await(ctx context.Context) error {
	_, err := r.await(ctx, func() {}, nil)
	return err
}

// awaitHurried is Await for an application that waits.
func (r *Roads) awaitHurried(ctx context.Context) (*keeper, error) {
	if k, _ := r.best(); k != nil {
		return k, nil
	}
	again := time.NewTicker(hurriedRetry)
	defer again.Stop()
	return r.await(ctx, r.hurry, again.C)
}

// await returns the first road that is open. It calls hurry when it begins to wait, and each time that again says so: by
// then a keeper may have tried, and would take its time.
func (r *Roads) await(ctx context.Context, hurry func(), again <-chan time.Time) (*keeper, error) {
	for {
		k, changed := r.best()
		if k != nil {
			return k, nil
		}
		hurry()
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return nil, r.absent(ctx)
		}
	}
}

// Open opens a stream on the first road that is open. While none is, it waits for one, as long as ctx lets it.
func (r *Roads) Open(ctx context.Context, flags wire.Flags) (*Stream, error) {
	return r.OpenWith(ctx, flags, nil)
}

// OpenWith is Open with a few bytes for the service in the opening message.
func (r *Roads) OpenWith(ctx context.Context, flags wire.Flags, payload []byte) (*Stream, error) {
	for {
		k, err := r.awaitHurried(ctx)
		if err != nil {
			return nil, err
		}
		s, err := k.node.OpenWith(ctx, k.route, flags, payload)
		if err == nil || ctx.Err() != nil {
			return s, err
		}
		select { // the road is closed, and its keeper will say so
		case <-time.After(firstRetry):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// absent says why the first road is not open, if that is known.
func (r *Roads) absent(ctx context.Context) error {
	if err := r.keepers[0].lastError(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

package route

import (
	"context"
	"sync"
	"time"

	"github.com/secureportal/sp/wire"
)

// Keeper keeps the session that a route's streams need: it makes it before the first, and again whenever it is lost.
type Keeper struct {
	node  *Node
	route Route
	hurry chan struct{} // somebody waits for the session

	mu  sync.Mutex
	up  bool
	err error // of the last attempt
}

// newKeeper returns a keeper for r. It does nothing before run.
func (n *Node) newKeeper(r Route) *Keeper {
	return &Keeper{node: n, route: r, hurry: make(chan struct{}, 1)}
}

// run keeps the session until ctx ends. Failures are logged when they begin or change, not each time.
func (k *Keeper) run(ctx context.Context, changed func()) {
	var retry backoff
	for {
		lived, err := k.hold(ctx, changed)
		if ctx.Err() != nil || ctxEnded(k.node.ctx) {
			return
		}
		k.failed(err)
		if !retry.wait(ctx, lived, err, k.hurry) {
			return
		}
	}
}

// hold makes the session, asks whether the service is there, and returns when the session has ended, and how long that
// was.
func (k *Keeper) hold(ctx context.Context, changed func()) (lived time.Duration, err error) {
	session, err := k.node.Session(ctx, k.route)
	if err != nil {
		return 0, err
	}
	if err := k.node.Probe(ctx, k.route); err != nil {
		return 0, err
	}
	began := time.Now()
	k.set(true)
	changed()
	select {
	case <-session.Done():
	case <-session.Left():
	case <-ctx.Done():
	}
	k.set(false)
	changed()
	if err = session.Err(); err == nil {
		err = errLeaving
	}
	return time.Since(began), err
}

var errLeaving = Refuse(wire.GoingAway, "the far end is shutting down")

func (k *Keeper) set(up bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if up && k.err != nil {
		k.node.logger.Info("far end reached", "route", Format(k.route))
		k.err = nil
	}
	k.up = up
}

func (k *Keeper) isUp() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.up
}

func (k *Keeper) failed(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil || k.err.Error() != err.Error() {
		k.node.warn("far end not reached, and goes on trying", err, "route", Format(k.route))
	}
	k.err = err
}

func (k *Keeper) lastError() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Roads are several routes to the same service, the best first: all are kept ready, and a stream takes the first that
// is. It is safe for concurrent use.
type Roads struct {
	keepers []*Keeper

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, whenever a road opens or closes
	taken   *Keeper       // what the log says that new streams take
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
func (r *Roads) best() (*Keeper, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.firstOpen(), r.changed
}

func (r *Roads) firstOpen() *Keeper {
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
func (r *Roads) awaitHurried(ctx context.Context) (*Keeper, error) {
	if k, _ := r.best(); k != nil {
		return k, nil
	}
	again := time.NewTicker(hurriedRetry)
	defer again.Stop()
	return r.await(ctx, r.hurry, again.C)
}

// await returns the first road that is open. It calls hurry when it begins to wait, and each time that again says so: by
// then a keeper may have tried, and would take its time.
func (r *Roads) await(ctx context.Context, hurry func(), again <-chan time.Time) (*Keeper, error) {
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

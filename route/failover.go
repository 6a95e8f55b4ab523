package route

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/tokenbucket"
	"github.com/secureportal/sp/wire"
)

// Failover is several paths to the same service, the best first: all are kept ready, and a stream
// takes the first that is up. It is safe for concurrent use.
type Failover struct {
	node *Node
	told chan struct{} // gets something when paths is another list

	mu      sync.Mutex
	paths   []*healthCheck // at least one; the list is never changed, but replaced
	places  map[*healthCheck]Choice
	spread  spread
	changed chan struct{} // closed, and made anew, whenever a path goes up or down
	current *healthCheck  // what the log says that new streams take
	again   tokenbucket.Bucket
}

// againRate is how many streams are opened again: all of a burst that a restart or a stall has
// refused, and in the long run no more than a far end can take that is busy anyway.
var againRate = tokenbucket.Rate{PerSecond: 50, Burst: 2000}

// NewFailover returns the paths that routes name, at least one. They do nothing before Run.
func (n *Node) NewFailover(routes []Route) *Failover {
	f := &Failover{node: n, changed: make(chan struct{}), told: make(chan struct{}, 1)}
	f.SetRoutes(routes)
	return f
}

// SetRoutes is SetPaths with each route a worse path than the one before.
func (f *Failover) SetRoutes(routes []Route) {
	all := make([]Choice, len(routes))
	for i, to := range routes {
		all[i] = Choice{Route: to, Rank: i}
	}
	f.SetPaths(all)
}

// SetPaths has the paths be these, at least one. One whose route has been there before is as it
// was; streams that were opened on one that is no more go on.
func (f *Failover) SetPaths(all []Choice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	paths, places := make([]*healthCheck, 0, len(all)), make(map[*healthCheck]Choice, len(all))
	for _, path := range all {
		same := func(h *healthCheck) bool { return slices.Equal(h.route, path.Route) }
		if slices.ContainsFunc(paths, same) {
			continue
		}
		h := f.node.newHealthCheck(path.Route)
		if i := slices.IndexFunc(f.paths, same); i >= 0 {
			h = f.paths[i]
		}
		paths = append(paths, h)
		places[h] = path
	}
	f.paths, f.places = paths, places
	select {
	case f.told <- struct{}{}:
	default:
	}
}

// IsUp tells whether the path that a route names is up. It is not if there is no such path.
func (f *Failover) IsUp(r Route) bool {
	for _, path := range f.all() {
		if slices.Equal(path.route, r) {
			return path.isUp()
		}
	}
	return false
}

func (f *Failover) all() []*healthCheck {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.paths
}

// Run keeps the paths up until ctx ends, and returns when it has stopped doing so.
func (f *Failover) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer f.node.besides.remove(f)
	kept := make(map[*healthCheck]context.CancelFunc)
	for {
		paths := f.all()
		routes := make([]Route, 0, len(paths))
		for _, path := range paths {
			routes = append(routes, path.route)
			if kept[path] == nil {
				keeping, stop := context.WithCancel(ctx)
				kept[path] = stop
				tasks.Go(func() { path.run(keeping, f.notify) })
			}
		}
		f.node.besides.set(f, routes)
		for path, stop := range kept {
			if !slices.Contains(paths, path) {
				stop()
				delete(kept, path)
				f.node.retire(path.route)
			}
		}
		f.notify()
		select {
		case <-f.told:
		case <-ctx.Done():
			return
		}
	}
}

// notify is called when a path has gone up or down, or could not be got up.
func (f *Failover) notify() {
	if best := f.change(); best != nil {
		pathChanges.Inc()
		best.node.logger.Info("new streams take another path", "route", Format(best.route))
	}
}

// change takes note that a path has gone up or down, and returns the one that streams take from now
// on, if that is another than before.
func (f *Failover) change() *healthCheck {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
	best, before := f.firstUp(), f.current
	if best == nil || best == before {
		return nil
	}
	f.current = best
	if before == nil {
		return nil
	}
	return best
}

// best returns the first path that is up, or nil and a channel that is closed when that may have
// changed.
func (f *Failover) best() (*healthCheck, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.firstUp(), f.changed
}

func (f *Failover) firstUp() *healthCheck {
	for _, path := range f.paths {
		if path.isUp() {
			return path
		}
	}
	return nil
}

// RetryNow has all paths that are down tried soon: somebody waits.
func (f *Failover) RetryNow() {
	for _, path := range f.all() {
		select {
		case path.retryNow <- struct{}{}:
		default:
		}
	}
}

// Await returns when a path is up, or why none is when ctx ends. It has nothing retried now.
func (f *Failover) Await(ctx context.Context) error {
	for {
		path, changed := f.best()
		if path != nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return f.whyDown(ctx)
		}
	}
}

// IsOpen tells whether a path is up. The channel is closed when that may have changed.
func (f *Failover) IsOpen() (open bool, changed <-chan struct{}) {
	path, changed := f.best()
	return path != nil, changed
}

// answerSoon is how long somebody waits for paths that are known to be down.
const answerSoon = time.Second

// awaitNow is Await for an application that waits. It has the paths tried now and again, and does
// not wait for ctx where it knows better: all have been down for a while, and another attempt has
// failed or takes its time.
func (f *Failover) awaitNow(ctx context.Context) (*healthCheck, error) {
	if path, _ := f.best(); path != nil {
		return path, nil
	}
	again := time.NewTicker(retryNowAfter)
	defer again.Stop()
	soon := time.NewTimer(answerSoon)
	defer soon.Stop()
	before := make(map[*healthCheck]uint64)
	for _, path := range f.all() {
		before[path] = path.attempts()
	}
	for {
		path, changed := f.best()
		if path != nil {
			return path, nil
		}
		if f.areKnownDown(before) {
			return nil, f.whyDown(ctx)
		}
		f.RetryNow()
		select {
		case <-changed:
		case <-again.C:
		case <-soon.C:
			clear(before) // whatever has failed so far counts
		case <-ctx.Done():
			return nil, f.whyDown(ctx)
		}
	}
}

func (f *Failover) areKnownDown(before map[*healthCheck]uint64) bool {
	for _, path := range f.all() {
		if !path.isKnownDown(before[path]) {
			return false
		}
	}
	return true
}

// OpenWith opens a stream on the best path that is up, with a few bytes for the service in the
// opening message. While no path is up, it waits for one, as long as ctx lets it, or until it is
// known that all have been down for longer than a restart takes.
//
// As long as nothing of the stream has been carried, it is opened again if it could not be, on
// another path if there is one, and no later than ctx lets it. Somebody has to read from the stream
// for that. What is written until then is kept, up to a limit, and may seem to have gone out.
func (f *Failover) OpenWith(
	ctx context.Context, flags wire.Flags, payload []byte,
) (*Stream, error) {
	s, on, counted, err := f.openCounted(ctx, nil, flags, payload)
	if err != nil {
		return nil, err
	}
	s.countedBy(counted)
	by, ok := ctx.Deadline()
	if !ok {
		by = time.Now().Add(on.node.connectTimeout())
	}
	again := newAgain(on.node, by, f.mayOpenAgain, nil)
	again.open = func(ctx context.Context) (*Stream, error) {
		next, to, counted, err := f.openCounted(ctx, again.on.Load(), flags, payload)
		if err != nil {
			return nil, err
		}
		again.on.Store(to)
		s.countedBy(counted)
		if ctx.Err() != nil { // closed meanwhile
			s.countedBy(nil)
		}
		f.expectAnswer(s, to)
		return next, nil
	}
	again.on.Store(on)
	again.refused = f.refused
	again.left, again.elsewhere = f.tries(), func() bool { return f.hasOther(again.on.Load()) }
	s.again.Store(again)
	f.expectAnswer(s, on)
	return s, nil
}

// mayOpenAgain counts a stream that is opened again, and tells whether there are not too many.
func (f *Failover) mayOpenAgain() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.again.Take(againRate, time.Now())
}

// whyDown says why the first path of which it is known is not up.
func (f *Failover) whyDown(ctx context.Context) error {
	for _, path := range f.all() {
		if err := path.lastError(); err != nil {
			return err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errLost
}

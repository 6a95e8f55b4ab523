package route

import (
	"context"
	"sync"
	"time"

	"github.com/secureportal/sp/wire"
)

// Failover is several paths to the same service, the best first: all are kept ready, and a stream
// takes the first that is up. It is safe for concurrent use.
type Failover struct {
	paths []*healthCheck

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, whenever a path goes up or down
	current *healthCheck  // what the log says that new streams take
}

// NewFailover returns the paths that routes name, at least one. They do nothing before Run.
func (n *Node) NewFailover(routes []Route) *Failover {
	f := &Failover{changed: make(chan struct{})}
	for _, to := range routes {
		f.paths = append(f.paths, n.newHealthCheck(to))
	}
	return f
}

// Run keeps the paths up until ctx ends, and returns when it has stopped doing so.
func (f *Failover) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for _, path := range f.paths {
		tasks.Go(func() { path.run(ctx, f.notify) })
	}
}

// notify is called when a path has gone up or down.
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

// retryNow has all paths that are down tried soon: somebody waits.
func (f *Failover) retryNow() {
	for _, path := range f.paths {
		select {
		case path.retryNow <- struct{}{}:
		default:
		}
	}
}

// Await returns when a path is up, or why none is when ctx ends. It has nothing retried now.
func (f *Failover) Await(ctx context.Context) error {
	_, err := f.await(ctx, func() {}, nil)
	return err
}

// awaitNow is Await for an application that waits.
func (f *Failover) awaitNow(ctx context.Context) (*healthCheck, error) {
	if path, _ := f.best(); path != nil {
		return path, nil
	}
	again := time.NewTicker(retryNowAfter)
	defer again.Stop()
	return f.await(ctx, f.retryNow, again.C)
}

// await returns the first path that is up. It calls retryNow when it begins to wait, and each time
// that again says so: by then a path may have been tried, and would take its time.
func (f *Failover) await(
	ctx context.Context, retryNow func(), again <-chan time.Time,
) (*healthCheck, error) {
	for {
		path, changed := f.best()
		if path != nil {
			return path, nil
		}
		retryNow()
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return nil, f.whyDown(ctx)
		}
	}
}

// OpenWith opens a stream on the first path that is up, with a few bytes for the service in the
// opening message. While no path is up, it waits for one, as long as ctx lets it.
func (f *Failover) OpenWith(
	ctx context.Context, flags wire.Flags, payload []byte,
) (*Stream, error) {
	for {
		path, err := f.awaitNow(ctx)
		if err != nil {
			return nil, err
		}
		s, err := path.node.OpenWith(ctx, path.route, flags, payload)
		if err == nil || ctx.Err() != nil {
			return s, err
		}
		select { // the path is down, and its health check will say so
		case <-time.After(firstRetry):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// whyDown says why the first path is not up, if that is known.
func (f *Failover) whyDown(ctx context.Context) error {
	if err := f.paths[0].lastError(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

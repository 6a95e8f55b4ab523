package route

import (
	"context"
	"sync"
	"time"

	"github.com/secureportal/sp/wire"
)

// keeper keeps the session that a route's streams need: it makes it before the first, and again whenever it is lost.
type keeper struct {
	node  *Node
	route Route
	hurry chan struct{} // somebody waits for the session

	mu  sync.Mutex
	up  bool
	err error // of the last attempt
}

// newKeeper returns a keeper for r. It does nothing before run.
func (n *Node) newKeeper(r Route) *keeper {
	return &keeper{node: n, route: r, hurry: make(chan struct{}, 1)}
}

// run keeps the session until ctx ends. Failures are logged when they begin or change, not each time.
func (k *keeper) run(ctx context.Context, changed func()) {
	var retry Backoff
	for {
		lived, err := k.hold(ctx, changed)
		if ctx.Err() != nil || ctxEnded(k.node.ctx) {
			return
		}
		k.failed(err)
		if !retry.Wait(ctx, lived, err, k.hurry) {
			return
		}
	}
}

// hold makes the session, asks whether the service is there, and returns when the session has ended, and how long that
// was.
func (k *keeper) hold(ctx context.Context, changed func()) (lived time.Duration, err error) {
	session, err := k.node.Session(ctx, k.route)
	if err != nil {
		return 0, err
	}
	if err := k.probe(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	k.set(true)
	changed()
	select {
	case <-session.Done():
	case <-session.GoingAway():
	case <-ctx.Done():
	}
	k.set(false)
	changed()
	if err = session.Err(); err == nil {
		err = errLeaving
	}
	return time.Since(began), err
}

// probe asks whether the service is there. The answer takes a link of its own, on which everything may be lost while the
// session is well.
func (k *keeper) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, k.node.connectTimeout()+probeGrace, ErrNoAnswer)
	defer cancel()
	return k.node.Probe(ctx, k.route)
}

// probeGrace is for a probe's answer, beyond the time for making a link.
const probeGrace = 5 * time.Second

var errLeaving = Refuse(wire.GoingAway, "the far end is shutting down")

func (k *keeper) set(up bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if up && k.err != nil {
		k.node.logger.Info("far end reached", "route", Format(k.route))
		k.err = nil
	}
	k.up = up
}

func (k *keeper) isUp() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.up
}

func (k *keeper) failed(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil || k.err.Error() != err.Error() {
		k.node.Warn("far end not reached, and goes on trying", err, "route", Format(k.route))
	}
	k.err = err
}

func (k *keeper) lastError() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

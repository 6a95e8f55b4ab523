package route

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/wire"
)

// probeGrace is for a probe's answer, beyond the time for making a link.
const probeGrace = 5 * time.Second

var (
	errLeaving = Refuse(wire.GoingAway, "the far end is shutting down")
	errLost    = errors.New("new links lead to somebody who does not know the session")
	errSilent  = errors.New("it is silent, while another path is not")
)

// healthCheck keeps one path up: it makes the session that the path's streams need before the
// first of them, asks whether the service is there, and does both again whenever the session is
// lost.
type healthCheck struct {
	node     *Node
	route    Route
	sharer   string        // which process it leads to, if several share its name
	retryNow chan struct{} // somebody waits for the path

	mu    sync.Mutex
	up    bool
	err   error // of the last attempt
	down  logthrottle.Outage
	since time.Time // when it was up last, or begun to be kept up
	tried uint64    // attempts that have failed
	inRow int       // of them, since it was up last

	took      time.Duration // how long the far end took to answer when the path went up
	suspected time.Time     // when it was last
	silent    *channel.Session
}

// newHealthCheck returns the health check of r. It does nothing before run.
func (n *Node) newHealthCheck(r Route) *healthCheck {
	return &healthCheck{
		node: n, route: r, sharer: sharer(r), retryNow: make(chan struct{}, 1), since: time.Now(),
	}
}

// run keeps the path up until ctx ends, and calls changed when it goes up or down, and when an
// attempt to get it up has failed. That it is down is logged at once, and then ever more rarely.
func (h *healthCheck) run(ctx context.Context, changed func()) {
	retry := h.node.NewBackoff()
	for {
		lived, err := h.hold(ctx, changed)
		if ctx.Err() != nil || ctxEnded(h.node.life.ctx) {
			return
		}
		h.failed(err)
		changed()
		if !retry.Wait(ctx, lived, err, h.retryNow) {
			return
		}
	}
}

// hold makes the session, asks whether the service is there, and returns when the session has
// ended, and how long that was. Where another one has taken its place it asks there as well.
func (h *healthCheck) hold(ctx context.Context, changed func()) (lived time.Duration, err error) {
	session, err := h.node.Session(ctx, h.route)
	if err != nil {
		return 0, err
	}
	asked := time.Now()
	if err := h.probe(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	h.set(true, began.Sub(asked))
	changed()
	for session != nil {
		last := session
		select {
		case <-session.Done():
		case <-session.GoingAway():
		case <-ctx.Done():
		}
		session, err = h.node.successor(h.route, last), last.Err()
		if last.Retired() {
			err = h.whyRetired(last)
		} else if err == nil {
			err = errLeaving
		}
		if session != nil && ctx.Err() == nil {
			// Somebody has made it, and found the far end there, not the service.
			if refused := h.probe(ctx); refused != nil {
				session, err = nil, refused
			}
		}
	}
	h.set(false, 0)
	changed()
	return time.Since(began), err
}

// whyRetired says why this side opens no new flows in a session.
func (h *healthCheck) whyRetired(s *channel.Session) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.silent == s {
		return errSilent
	}
	return errLost
}

// probe asks whether the service is there. The answer takes a link of its own, on which everything
// may be lost while the session is well.
func (h *healthCheck) probe(ctx context.Context) error {
	patience := h.node.connectTimeout() + probeGrace
	ctx, cancel := context.WithTimeoutCause(ctx, patience, ErrNoAnswer)
	defer cancel()
	return h.node.Probe(ctx, h.route)
}

func (h *healthCheck) set(up bool, took time.Duration) {
	h.mu.Lock()
	h.took = took
	var down time.Duration
	if up {
		h.err, down = nil, h.down.Ended(time.Now())
	}
	h.up, h.since, h.inRow = up, time.Now(), 0
	h.mu.Unlock()
	if down > 0 {
		h.node.logger.Info("far end reached", "route", Format(h.route), "was down", secondsOf(down))
	}
}

func (h *healthCheck) isUp() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.up
}

func (h *healthCheck) failed(err error) {
	h.mu.Lock()
	h.err = err
	h.tried++
	h.inRow++
	due, since := h.down.Failed(err.Error(), time.Now())
	h.mu.Unlock()
	if due {
		h.node.WarnDown("far end not reached, and goes on trying", err, since,
			"route", Format(h.route))
	}
}

// attempts returns how many attempts have failed.
func (h *healthCheck) attempts() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tried
}

// isKnownDown tells whether the path has been down for so long that nobody waits for it any more,
// and several attempts have failed, one of them since there were before. Where one of the two sides
// does not trust the other, to wait is of no use: one attempt says so.
func (h *healthCheck) isKnownDown(before uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.up || h.tried <= before {
		return false
	}
	return errors.Is(h.err, trust.ErrNotTrusted) ||
		h.inRow > 1 && time.Since(h.since) >= h.node.connectTimeout()/2
}

func (h *healthCheck) lastError() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

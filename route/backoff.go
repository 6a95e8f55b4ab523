package route

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/wire"
)

// Times between two attempts to reach what has been lost.
const (
	firstRetry    = 200 * time.Millisecond
	lastRetry     = 30 * time.Second
	recentRetry   = time.Second            // the longest, for what was there recently
	recently      = time.Minute            // a process that is started anew is back by then
	retryNowAfter = 250 * time.Millisecond // between two attempts, while somebody waits
	stableAfter   = time.Second            // what has lived as long is tried again at once
)

// Backoff spaces attempts: each waits about twice as long as the one before, and no two processes
// wait alike. The zero value is ready; one of Node.NewBackoff also knows of the node's network. It
// belongs to one goroutine.
type Backoff struct {
	delay time.Duration
	since time.Time // of the first of these attempts

	network *network        // nil: knows of none
	changed <-chan struct{} // closed when that is another one than when the last attempt began
}

// Wait returns when to try again, after something that lived for a while and ended because of err,
// or did not come to life. Somebody who sends on retryNow makes that soon, unless somebody else has
// decided against it. It reports false when ctx ends first.
func (b *Backoff) Wait(
	ctx context.Context, lived time.Duration, err error, retryNow <-chan struct{},
) bool {
	if b.network != nil {
		defer func() { b.changed = b.network.now().Done() }()
	}
	if lived >= stableAfter {
		b.forget()
		return ctx.Err() == nil
	}
	b.next(lived, err)
	if decided(err) {
		retryNow = nil
	}
	soon := time.NewTimer(min(b.delay, retryNowAfter))
	defer soon.Stop()
	late := time.NewTimer(b.delay/2 + rand.N(b.delay/2))
	defer late.Stop()
	for passed := false; ; {
		wanted := retryNow
		if !passed {
			wanted = nil
		}
		select {
		case <-late.C:
			return true
		case <-soon.C:
			passed = true
		case <-wanted:
			return true
		case <-b.changed:
			if !decided(err) {
				b.forget()
			}
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// forget has the next failure be the first.
func (b *Backoff) forget() { b.delay, b.since = 0, time.Now() }

// next makes the delay longer.
func (b *Backoff) next(lived time.Duration, err error) {
	if b.since.IsZero() {
		b.since = time.Now()
	}
	limit := lastRetry
	if lived > 0 || time.Since(b.since) < recently && !decided(err) {
		limit = recentRetry
	}
	b.delay = min(max(2*b.delay, firstRetry), limit)
}

// decided tells whether err is what somebody has decided, and is not likely to decide otherwise
// soon. An error of another package says so with a method Decided.
func decided(err error) bool {
	if errors.Is(err, trust.ErrNotTrusted) {
		return true
	}
	var d interface{ Decided() bool }
	if errors.As(err, &d) {
		return d.Decided()
	}
	status := (*StatusError)(nil)
	return errors.As(err, &status) && !status.Hearsay &&
		slices.Contains([]wire.Code{wire.NotTrusted, wire.NotAllowed, wire.NameTaken}, status.Code)
}

package route

import (
	"context"
	"math/rand/v2"
	"time"
)

// Times between two attempts to reach what has been lost.
const (
	firstRetry   = 200 * time.Millisecond
	lastRetry    = 30 * time.Second
	shakyRetry   = time.Second            // the longest for what can be reached, and is lost again soon
	hurriedRetry = 500 * time.Millisecond // between two attempts, while somebody waits
	stableAfter  = time.Second            // what has lived as long is tried again at once
)

// backoff spaces attempts: each waits about twice as long as the one before, and no two processes wait alike. The zero
// value is ready.
type backoff struct{ delay time.Duration }

// wait returns when to try again, after something that lived for a while, or not at all. Somebody who sends on hurry
// makes that soon. It reports false when ctx ends first.
func (b *backoff) wait(ctx context.Context, lived time.Duration, hurry <-chan struct{}) bool {
	if lived >= stableAfter {
		b.delay = 0
		return ctx.Err() == nil
	}
	limit := lastRetry
	if lived > 0 { // it can be reached, if not kept
		limit = shakyRetry
	}
	b.delay = min(max(2*b.delay, firstRetry), limit)
	soon := time.NewTimer(min(b.delay, hurriedRetry))
	defer soon.Stop()
	late := time.NewTimer(b.delay/2 + rand.N(b.delay/2))
	defer late.Stop()
	for passed := false; ; {
		wanted := hurry
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
		case <-ctx.Done():
			return false
		}
	}
}

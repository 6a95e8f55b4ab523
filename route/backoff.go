package route

import (
	"context"
	"math/rand/v2"
	"time"
)

// Times between two attempts to reach what has been lost.
const (
	firstRetry  = 200 * time.Millisecond
	lastRetry   = 30 * time.Second
	stableAfter = 5 * time.Second // what has lived as long is tried again at once
)

// backoff spaces attempts: each waits about twice as long as the one before, and no two processes wait alike. The zero
// value is ready.
type backoff struct{ delay time.Duration }

// wait returns when to try again, after something that lived for a while, or not at all. It reports false when ctx
// ends first.
func (b *backoff) wait(ctx context.Context, lived time.Duration) bool {
	if lived >= stableAfter {
		b.delay = 0
		return ctx.Err() == nil
	}
	b.delay = min(max(2*b.delay, firstRetry), lastRetry)
	timer := time.NewTimer(b.delay/2 + rand.N(b.delay/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

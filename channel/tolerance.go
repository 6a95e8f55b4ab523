package channel

import (
	"sync"
	"time"
)

// Boxes in the middle end what carries nothing for a while: a balancer, a proxy, a firewall. What
// TCP's own keepalives carry does not count there, so each link carries something in time. How much
// time that is, is different on each way: it is tried out with links that nobody would miss.
const (
	// cautiousQuiet is how long a link may carry nothing on a way of which nothing is known.
	cautiousQuiet = 4 * time.Second
	// boldQuiet is how long at most.
	boldQuiet = 50 * time.Second
	// provenQuiet is how long a link must have carried nothing for boldQuiet to be allowed.
	provenQuiet = boldQuiet * 3 / 2
	// cutForgotten is after how long another try is made on a way where links were ended.
	cutForgotten = time.Hour
)

// tolerance is how long links may carry nothing on one way. The sessions that follow one another on
// that way share one.
type tolerance struct {
	mu    sync.Mutex
	lived time.Duration // the longest that a link has carried nothing and been well
	cut   time.Duration // the shortest after which one has ended; 0: none has
	cutAt time.Time     // when that was
}

// allows returns for how long a link may carry nothing: two thirds of what one has been seen to
// bear, and three fifths of what one has not.
func (t *tolerance) allows() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	quiet := min(t.lived*2/3, boldQuiet)
	if t.cut > 0 {
		quiet = min(quiet, t.cut*3/5)
	}
	return max(quiet, cautiousQuiet)
}

// isKnown tells whether there is nothing to try out.
func (t *tolerance) isKnown(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut > 0 && now.Sub(t.cutAt) > cutForgotten {
		t.cut, t.lived = 0, 0
	}
	return t.cut > 0 || t.lived >= provenQuiet
}

// isShort tells whether links have been ended for carrying nothing.
func (t *tolerance) isShort() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cut > 0
}

// doubt has it tried out anew what the way bears: it may be another.
func (t *tolerance) doubt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lived, t.cut = 0, 0
}

// noteLived takes note that a link has carried nothing for a while and is well.
func (t *tolerance) noteLived(quiet time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lived = max(t.lived, quiet)
}

// noteCut takes note that a link has carried nothing for a while and has ended.
func (t *tolerance) noteCut(quiet time.Duration, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if quiet < cautiousQuiet {
		return // that was not why
	}
	if t.cut == 0 || quiet < t.cut {
		t.cut = quiet
	}
	t.cutAt = now
}

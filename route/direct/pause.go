package direct

import (
	"maps"
	"math/rand/v2"
	"time"

	"github.com/secureportal/sp/internal/tokenbucket"
)

const (
	// firstPause is waited after an attempt that has failed, and twice as long after each further
	// one, up to longestPause, which is reached by mostDoublings; a quarter more or less, so that not
	// all try at once who have failed at once.
	firstPause    = time.Minute
	longestPause  = time.Hour
	mostDoublings = 6

	// never is longer than any process runs on one network.
	never = 365 * 24 * time.Hour

	// lived is how long a direct connection has to have lasted for the next attempt to be a first one.
	lived = time.Minute
)

// Pause is how long is waited before it is tried again to make a direct connection. It has no lock.
// The zero value is ready, and is that of whoever has not tried.
type Pause struct {
	failures int
	until    time.Time
}

// Failed takes note of an attempt that has failed, or of a connection that has lasted for a while
// and has ended.
func (p *Pause) Failed(now time.Time, lasted time.Duration) {
	if lasted >= lived {
		p.failures = 0
	}
	wait := min(firstPause<<min(p.failures, mostDoublings), longestPause)
	p.failures++
	p.until = now.Add(wait - wait/4 + rand.N(wait/2))
}

// Never has nothing tried until Reset: the other side does not know how.
func (p *Pause) Never(now time.Time) { p.until = now.Add(never) }

// Wait returns for how long nothing is to be tried: not at all, if that is 0 or less.
func (p *Pause) Wait(now time.Time) time.Duration { return p.until.Sub(now) }

// Reset forgets what has failed: the network is another one.
func (p *Pause) Reset() { *p = Pause{} }

// turnRate is how often one far end may have this side take part: a few of its processes at once.
var turnRate = tokenbucket.Rate{PerSecond: 0.1, Burst: 6}

const (
	// turnsAtOnce is how many attempts there may be at a time, and maxTakers how many far ends are
	// remembered.
	turnsAtOnce = 8
	maxTakers   = 1024
)

// Turns are those in whose attempts this side takes part. It has no lock. The zero value is ready.
type Turns[K comparable] struct {
	taken map[K]*tokenbucket.Bucket
	now   int
}

// Begin tells whether it is somebody's turn. End is to be called then.
func (t *Turns[K]) Begin(who K, now time.Time) bool {
	if t.now >= turnsAtOnce {
		return false
	}
	maps.DeleteFunc(t.taken, func(_ K, b *tokenbucket.Bucket) bool { return b.IsFull(turnRate, now) })
	b := t.taken[who]
	if b == nil {
		if len(t.taken) >= maxTakers {
			return false
		}
		if t.taken == nil {
			t.taken = make(map[K]*tokenbucket.Bucket)
		}
		b = new(tokenbucket.Bucket)
		t.taken[who] = b
	}
	if !b.Take(turnRate, now) {
		return false
	}
	t.now++
	return true
}

// End is the end of a turn.
func (t *Turns[K]) End() { t.now-- }

package metrics

import (
	"math"
	"sync/atomic"
	"time"
)

// bounds are those of all histograms: of times from what a machine needs for an answer of its own
// to what nobody waits for any more. The last bucket has no bound.
var bounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second,
}

// Histogram counts times, by how long they are. It is safe for concurrent use, and allocates
// nothing. The zero value counts, and nobody reads it: NewHistogram makes one that Each shows.
type Histogram struct {
	counts [len(bounds) + 1]atomic.Uint64
	sum    atomic.Uint64 // nanoseconds
}

// Bucket is how many times are no longer than a bound.
type Bucket struct {
	Bound float64 // in seconds; the last one is infinite
	Count uint64  // of those in the buckets before as well
}

// NewHistogram is NewCounter for a histogram of times.
func NewHistogram(name, help string, labels ...Label) *Histogram {
	h := new(Histogram)
	register(name, help, KindHistogram, labels, h.read)
	return h
}

// Observe counts a time. One that is negative, for clocks do that, counts as none.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(uint64(d))
}

// read returns what has been counted. The sum may be of a moment later.
func (h *Histogram) read() (sum float64, all []Bucket) {
	all = make([]Bucket, len(h.counts))
	var count uint64
	for i := range h.counts {
		count += h.counts[i].Load()
		bound := math.Inf(1)
		if i < len(bounds) {
			bound = bounds[i].Seconds()
		}
		all[i] = Bucket{Bound: bound, Count: count}
	}
	return time.Duration(h.sum.Load()).Seconds(), all
}

package admission

import (
	"sync"
	"time"

	"github.com/secureportal/sp/internal/tokenbucket"
)

const (
	handshakeBurst = 4    // seconds' worth of handshakes that may come at once
	sourcesKept    = 4096 // sources whose handshakes are counted one by one
)

// rates is a token bucket for each source. It is safe for concurrent use.
type rates struct {
	rate tokenbucket.Rate

	mu sync.Mutex
	by map[Source]*tokenbucket.Bucket
}

func newRates(perSecond, burst int) rates {
	return rates{
		rate: tokenbucket.Rate{PerSecond: float64(perSecond), Burst: float64(burst)},
		by:   make(map[Source]*tokenbucket.Bucket),
	}
}

// take takes a token of from's, and reports whether there was one.
func (r *rates) take(from Source, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.by[from]
	if !ok {
		b = r.addLocked(from, now)
	}
	return b.Take(r.rate, now)
}

// addLocked makes a bucket for a new source. When there are too many, those that are full again
// are forgotten; the sources beyond that share one.
func (r *rates) addLocked(from Source, now time.Time) *tokenbucket.Bucket {
	if len(r.by) >= sourcesKept {
		for s, b := range r.by {
			if b.IsFull(r.rate, now) {
				delete(r.by, s)
			}
		}
	}
	if len(r.by) >= sourcesKept {
		from = Source{}
		if b, ok := r.by[from]; ok {
			return b
		}
	}
	b := new(tokenbucket.Bucket)
	r.by[from] = b
	return b
}

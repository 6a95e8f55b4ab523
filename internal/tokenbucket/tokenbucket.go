// Package tokenbucket bounds how often something may happen. It has no lock and no clock: the
// caller brings both.
package tokenbucket

import "time"

// Rate is how often something may happen.
type Rate struct {
	PerSecond float64 // in the long run
	Burst     float64 // at once, after a while in which it did not
}

// Bucket counts what has happened against a Rate. The zero value is full: a whole burst may come.
type Bucket struct {
	spent float64 // tokens missing at the time below; never negative
	at    time.Time
}

// Take takes a token, and reports whether there was one. A bucket has one rate all its life.
func (b *Bucket) Take(r Rate, now time.Time) bool {
	b.spent = b.missing(r, now)
	b.at = now
	if b.spent > r.Burst-1 {
		return false
	}
	b.spent++
	return true
}

// IsFull reports whether nothing is left of what has been taken: whoever forgets such a bucket
// forgets nothing.
func (b *Bucket) IsFull(r Rate, now time.Time) bool { return b.missing(r, now) == 0 }

func (b *Bucket) missing(r Rate, now time.Time) float64 {
	return max(b.spent-r.PerSecond*now.Sub(b.at).Seconds(), 0)
}

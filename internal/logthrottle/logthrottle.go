// Package logthrottle keeps a flood of events from becoming one of log lines. It never logs
// anything itself, and has no clock of its own.
package logthrottle

import (
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/tokenbucket"
)

// interval is the time between two lines of one kind.
const interval = 10 * time.Second

// Of a flood, floodBurst lines may come at once, and one more in each floodInterval.
const (
	floodBurst    = 20
	floodInterval = time.Second
)

// Throttle lets one line of a kind through in ten seconds. The zero value is ready. It is safe for
// concurrent use.
type Throttle struct {
	mu   sync.Mutex
	last time.Time
}

// Due reports whether it is time for another line, and counts it as written if so.
func (t *Throttle) Due(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.last.IsZero() && now.Sub(t.last) < interval {
		return false
	}
	t.last = now
	return true
}

// Level returns how loud to log err: as a warning, but that this process lacks descriptors only
// when a line is due, and for debugging otherwise.
func (t *Throttle) Level(err error, now time.Time) slog.Level {
	short := errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
	if short && !t.Due(now) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// Flood lets some of the many lines through that anonymous peers cause. The zero value is ready.
// It is safe for concurrent use.
type Flood struct {
	mu      sync.Mutex
	bucket  tokenbucket.Bucket
	omitted int // since the last line
}

// Due reports whether there is to be a line, and if so how many have been omitted since the last.
func (f *Flood) Due(now time.Time) (due bool, omitted int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rate := tokenbucket.Rate{PerSecond: 1 / floodInterval.Seconds(), Burst: floodBurst}
	if !f.bucket.Take(rate, now) {
		f.omitted++
		return false, 0
	}
	omitted, f.omitted = f.omitted, 0
	return true, omitted
}

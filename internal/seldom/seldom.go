// Package seldom keeps a flood of events from becoming one of log lines. It never logs anything itself.
package seldom

import (
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"time"
)

// interval is the time between two reports of one kind.
const interval = 10 * time.Second

// Of a flood, floodBurst reports come at once, and then one in floodInterval.
const (
	floodBurst    = 20
	floodInterval = time.Second
)

// Report remembers when something was last reported. The zero value is ready. It is safe for concurrent use.
type Report struct {
	mu   sync.Mutex
	last time.Time
}

// Due reports whether it is time to say it again, and takes it as said if so.
func (r *Report) Due(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.last.IsZero() && now.Sub(r.last) < interval {
		return false
	}
	r.last = now
	return true
}

// Level returns how loud to say err: it is a warning, but that this process lacks descriptors is one now and then, and
// for debugging otherwise.
func (r *Report) Level(err error, now time.Time) slog.Level {
	short := errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
	if short && !r.Due(now) {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// Flood lets through some of many reports that somebody unknown causes. The zero value is ready. It is safe for concurrent
// use.
type Flood struct {
	mu     sync.Mutex
	spent  int // of floodBurst
	earned time.Time
	left   int
}

// Due reports whether there is to be a report, and if so how many have been left out since the last one.
func (f *Flood) Due(now time.Time) (due bool, left int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if earned := int(now.Sub(f.earned) / floodInterval); earned > 0 {
		f.spent, f.earned = max(f.spent-min(earned, floodBurst), 0), now
	}
	if f.spent >= floodBurst {
		f.left++
		return false, 0
	}
	f.spent++
	left, f.left = f.left, 0
	return true, left
}

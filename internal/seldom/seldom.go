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

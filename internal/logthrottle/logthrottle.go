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

// Of a flood, floodBurst lines may come at once, and one more in each floodInterval. Of all floods
// together, as many times more.
const (
	floodBurst    = 20
	floodInterval = time.Second
	floodsAtOnce  = 10
)

// maxSources is how many sources of floods are told apart: a source takes some 100 bytes.
const maxSources = 1024

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
	if !f.bucket.Take(floodRate, now) {
		f.omitted++
		return false, 0
	}
	omitted, f.omitted = f.omitted, 0
	return true, omitted
}

var (
	floodRate = tokenbucket.Rate{PerSecond: 1 / floodInterval.Seconds(), Burst: floodBurst}
	allRate   = tokenbucket.Rate{
		PerSecond: floodsAtOnce * floodRate.PerSecond, Burst: floodsAtOnce * floodRate.Burst,
	}
)

// Sources is a Flood for each source, so that one that has much to say does not keep the others out
// of the log. All together are bounded as well: the lines, and the memory. Sources that there is no
// room for are one. The zero value is ready. It is safe for concurrent use.
type Sources[K comparable] struct {
	mu    sync.Mutex
	of    map[K]*Flood
	rest  Flood // of those without a place
	all   tokenbucket.Bucket
	swept time.Time // when places were last looked for
}

// Due reports whether there is to be a line about a source, and if so how many about it have been
// omitted since the last.
func (s *Sources[K]) Due(source K, now time.Time) (due bool, omitted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.floodLocked(source, now)
	due, omitted = f.Due(now)
	if due && !s.all.Take(allRate, now) {
		f.omit(omitted + 1)
		return false, 0
	}
	return due, omitted
}

// omit puts back what a line that does not come has left out.
func (f *Flood) omit(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.omitted += n
}

// floodLocked returns the source's own Flood, or that of all who have none.
func (s *Sources[K]) floodLocked(source K, now time.Time) *Flood {
	if f, ok := s.of[source]; ok {
		return f
	}
	if len(s.of) >= maxSources && now.Sub(s.swept) >= floodInterval {
		s.swept = now
		for k, f := range s.of {
			if f.bucket.IsFull(floodRate, now) {
				delete(s.of, k)
			}
		}
	}
	if len(s.of) >= maxSources {
		return &s.rest
	}
	if s.of == nil {
		s.of = make(map[K]*Flood)
	}
	f := new(Flood)
	s.of[source] = f
	return f
}

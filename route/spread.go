package route

import (
	"context"
	"sync"
	"time"
)

// refusedPause is for how long a process that shares a name takes no new streams, as long as others
// do, after one that it has not carried. It comes back by itself.
const refusedPause = time.Second

// Choice is a route of a Failover, and when it is taken.
type Choice struct {
	Route Route

	// Rank says which paths are better: those of a smaller one are. Of paths with the same, each of
	// which leads to one of several processes that share a name, a stream takes the one whose process
	// has the fewest, and otherwise the first.
	Rank int

	// Sick says that whoever has named the path has heard that its far end is not well: it is taken
	// if there is no other.
	Sick bool
}

// spread is how streams are spread over the processes that share a name, of one Failover: by fewest
// open ones. The Failover's lock guards it. The zero value is ready.
type spread struct {
	open    map[string]int       // how many streams each process has, by its instance
	refused map[string]time.Time // when each has refused one last
}

// standing is what speaks against a path, the less the better.
type standing struct{ failed, ill, rank, open int }

func (a standing) isBetter(b standing) bool {
	switch {
	case a.failed != b.failed:
		return a.failed < b.failed
	case a.ill != b.ill:
		return a.ill < b.ill
	case a.rank != b.rank:
		return a.rank < b.rank
	}
	return a.open < b.open
}

// standingLocked returns how a path stands for a stream that has failed on another one, or on none.
func (f *Failover) standingLocked(h, failed *healthCheck, now time.Time) standing {
	s := standing{rank: f.places[h].Rank}
	if h == failed || failed != nil && h.sharer != "" && h.sharer == failed.sharer {
		s.failed = 1
	}
	if h.sharer == "" {
		return s
	}
	s.open = f.spread.open[h.sharer]
	if now.Sub(f.spread.refused[h.sharer]) < refusedPause {
		s.ill = 1
	}
	if f.places[h].Sick {
		s.ill = 2
	}
	return s
}

// IsShared tells whether the path that a route names has a session with one of several processes
// that share its name.
func (f *Failover) IsShared(r Route) bool {
	if len(segments(r)) < 2 {
		return false
	}
	s := f.node.successor(r, nil)
	return s != nil && s.FarInstance() != ""
}

// choose returns the path that a stream takes which has failed on another one, or on none, and
// counts it there until ended is called, once; nil if no path is up. ended is nil where nothing is
// counted.
func (f *Failover) choose(failed *healthCheck) (on *healthCheck, ended func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if on = f.bestLocked(failed, time.Now()); on == nil || on.sharer == "" {
		return on, nil
	}
	return on, f.countLocked(on.sharer)
}

// bestLocked returns the path that is up and stands best.
func (f *Failover) bestLocked(failed *healthCheck, now time.Time) (best *healthCheck) {
	var of standing
	for _, h := range f.paths {
		if !h.isUp() {
			continue
		}
		if s := f.standingLocked(h, failed, now); best == nil || s.isBetter(of) {
			best, of = h, s
		}
	}
	return best
}

// refused takes note that whoever a path leads to has not carried a stream, and says so.
func (f *Failover) refused(on *healthCheck) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if on.sharer != "" {
		f.spread.refuseLocked(on.sharer, time.Now())
	}
}

func (s *spread) refuseLocked(sharer string, now time.Time) {
	if s.refused == nil {
		s.refused = make(map[string]time.Time)
	}
	for other, at := range s.refused {
		if now.Sub(at) >= refusedPause {
			delete(s.refused, other)
		}
	}
	s.refused[sharer] = now
}

// countLocked counts a stream of a process until ended is called, once.
func (f *Failover) countLocked(sharer string) (ended func()) {
	if f.spread.open == nil {
		f.spread.open = make(map[string]int)
	}
	f.spread.open[sharer]++
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.spread.open[sharer]--; f.spread.open[sharer] == 0 {
			delete(f.spread.open, sharer)
		}
	})
}

// hasOther tells whether a stream that a process has not carried may be opened with another one
// that shares its name and seems to be well.
func (f *Failover) hasOther(than *healthCheck) bool {
	if than.sharer == "" {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	best := f.bestLocked(than, time.Now())
	return best != nil && best.sharer != "" && best.sharer != than.sharer &&
		f.standingLocked(best, nil, time.Now()).ill == 0
}

// tries returns how often a stream is opened again: with each process that shares the name, if it
// has to be.
func (f *Failover) tries() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	sharers := make(map[string]bool)
	for _, h := range f.paths {
		if h.sharer != "" && h.isUp() {
			sharers[h.sharer] = true
		}
	}
	return max(againTries, len(sharers)-1)
}

// besidesOf returns the paths that are up to compare one with: the next way to the same process,
// and the first to another one; or, where the name is not shared, the next way.
func (f *Failover) besidesOf(on *healthCheck) (all []*healthCheck) {
	same, other := false, false
	for _, path := range f.all() {
		switch {
		case path == on || !path.isUp():
		case path.sharer == on.sharer && !same:
			same = true
			all = append(all, path)
		case path.sharer != on.sharer && !other:
			other = true
			all = append(all, path)
		}
	}
	return all
}

// openCounted opens a stream on the path that stands best for one that has failed on another one,
// or on none. counted is the end of its being counted, and may be nil.
func (f *Failover) openCounted(
	ctx context.Context, failed *healthCheck, flags Flags, payload []byte,
) (s *Stream, on *healthCheck, counted func(), err error) {
	for {
		if on, err = f.awaitNow(ctx); err != nil {
			return nil, nil, nil, err
		}
		if best, ended := f.choose(failed); best != nil {
			on, counted = best, ended
		}
		s, err = on.node.OpenWith(ctx, on.route, flags, payload)
		if err == nil {
			return s, on, counted, nil
		}
		if counted != nil {
			counted()
			failed, counted = on, nil // another process may be there
		}
		if ctx.Err() != nil {
			return nil, on, nil, err
		}
		select { // the path is down, and its health check will say so
		case <-time.After(f.pauseAfter(on)):
		case <-ctx.Done():
			return nil, nil, nil, err
		}
	}
}

// pauseAfter is how long a stream waits that could not be opened on a path: where another process
// is there, not at all.
func (f *Failover) pauseAfter(on *healthCheck) time.Duration {
	if f.hasOther(on) {
		return 0
	}
	return firstRetry
}

// countedBy says what ends that a stream is counted, in place of what has said so before, and does
// that.
func (s *Stream) countedBy(ended func()) {
	var next *func()
	if ended != nil {
		next = &ended
	}
	if before := s.counted.Swap(next); before != nil {
		(*before)()
	}
}

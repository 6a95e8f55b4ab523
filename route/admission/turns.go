package admission

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
)

const (
	turnsWaiting  = 1024 // handshakes that wait to compute, of all sources
	turnsPerCore  = 2    // that compute at once, for each core
	strangersTurn = 4    // one turn of so many is for unknown sources, if known ones wait as well
)

// ErrBusy says that too many wait for their handshakes already.
var ErrBusy = errors.New("too many handshakes at once")

// turns is who may compute for a handshake next. Sources take turns, however many of each wait.
// Those that have begun a handshake come first, which takes no place in vain; then known sources,
// and of a few turns one is for the others. It has a lock of its own.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting int
	taken   int // turns of known sources since the last one of another
	ranks   [ranks]ring
}

type rank uint8

// The ranks of those who wait, the first is first.
const (
	begun rank = iota
	ofKnown
	ofUnknown
	ranks
)

// ring is the sources of a rank that wait.
type ring struct {
	by    map[Source]*line
	order []*line // the first is next
}

// line is those of one source that wait, the first is first.
type line struct {
	from    Source
	waiting []chan error // each has room for one
}

func newTurns() *turns {
	t := &turns{free: turnsPerCore * runtime.GOMAXPROCS(0)}
	for r := range t.ranks {
		t.ranks[r].by = make(map[Source]*line)
	}
	return t
}

// take returns when it is the turn of somebody at from, until done is called, once. It fails with
// ErrBusy if too many wait, and he is of those that wait most.
func (t *turns) take(ctx context.Context, r rank, from Source) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	if t.waiting >= turnsWaiting && !t.makeRoomLocked(r, from) {
		t.mu.Unlock()
		return ErrBusy
	}
	mine := make(chan error, 1)
	t.ranks[r].push(from, mine)
	t.waiting++
	turnsWaitingNow.Inc()
	t.mu.Unlock()
	select {
	case err := <-mine:
		return err
	case <-ctx.Done():
	}
	t.mu.Lock()
	if t.ranks[r].remove(from, mine) {
		t.leftLocked()
		t.mu.Unlock()
		return context.Cause(ctx)
	}
	t.mu.Unlock()
	if err := <-mine; err != nil {
		return err
	}
	t.done()
	return context.Cause(ctx)
}

// done is the end of a turn.
func (t *turns) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.nextLocked()
	if next == nil {
		t.free++
		return
	}
	t.leftLocked()
	next <- nil
}

func (t *turns) leftLocked() {
	t.waiting--
	turnsWaitingNow.Dec()
}

// nextLocked takes out who is next, or returns nil.
func (t *turns) nextLocked() chan error {
	order := [ranks]rank{begun, ofKnown, ofUnknown}
	if t.taken >= strangersTurn-1 {
		order = [ranks]rank{begun, ofUnknown, ofKnown}
	}
	for _, r := range order {
		next := t.ranks[r].next()
		switch {
		case next == nil:
			continue
		case r == ofKnown:
			t.taken++
		case r == ofUnknown:
			t.taken = 0
		}
		return next
	}
	return nil
}

// makeRoomLocked refuses the one who came last of the source that has most waiting, among those
// that are behind rank r or in it, unless that is from itself.
func (t *turns) makeRoomLocked(r rank, from Source) bool {
	for other := ofUnknown; other >= r && other > begun; other-- {
		most := t.ranks[other].longest()
		if most == nil {
			continue
		}
		if other == r {
			if own := t.ranks[r].by[from]; own != nil && len(own.waiting) >= len(most.waiting) {
				return false
			}
		}
		last := most.waiting[len(most.waiting)-1]
		t.ranks[other].remove(most.from, last)
		t.leftLocked()
		last <- ErrBusy
		return true
	}
	return false
}

func (r *ring) push(from Source, w chan error) {
	l := r.by[from]
	if l == nil {
		l = &line{from: from}
		r.by[from] = l
		r.order = append(r.order, l)
	}
	l.waiting = append(l.waiting, w)
}

// next takes out the first of the source whose turn it is, or returns nil.
func (r *ring) next() chan error {
	if len(r.order) == 0 {
		return nil
	}
	l := r.order[0]
	r.order = r.order[1:]
	w := l.waiting[0]
	l.waiting = l.waiting[1:]
	if len(l.waiting) > 0 {
		r.order = append(r.order, l)
	} else {
		delete(r.by, l.from)
	}
	return w
}

// remove takes one out, and reports whether he was there.
func (r *ring) remove(from Source, w chan error) bool {
	l := r.by[from]
	if l == nil {
		return false
	}
	i := slices.Index(l.waiting, w)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	if len(l.waiting) == 0 {
		delete(r.by, from)
		r.order = slices.DeleteFunc(r.order, func(other *line) bool { return other == l })
	}
	return true
}

// longest returns the source that has most waiting, or nil.
func (r *ring) longest() (most *line) {
	for _, l := range r.order {
		if most == nil || len(l.waiting) > len(most.waiting) {
			most = l
		}
	}
	return most
}

package admission

import (
	"container/list"
	"sync/atomic"
	"time"
)

const (
	slotsKept = 4           // of the slots, this part is for sources that have few
	slotsFew  = 4           // fewer than these
	slotGrace = time.Second // before a link may have to make room: an honest one needs a round trip
)

// Slot is one link's among the unauthenticated links. A nil Slot belongs to a link that is not
// limited, and all its methods do nothing. The goroutine that serves the link owns the Slot.
//
//	               Free                  End
//	waiting ─────────────────▶ free ──────────▶ ended
//	  │ │ │    Authenticate                End   ▲ ▲
//	  │ │ └────────────────▶ authenticated ──────┘ │
//	  │ │   Heard                ▲ Authenticate    │
//	  │ └──────────▶ heard ──────┴─────────────────┤  End
//	  │ another needs the room                     │
//	  └────────▶ displaced ────────────────────────┘  Free, Authenticate or End
//
// A displaced link is about to be reset, and is counted until it has noticed. That it has been
// authenticated meanwhile counts all the same.
type Slot struct {
	owner  *Admission
	of     *slots
	way    *Way // that the link has come by; nil for one that was accepted here
	holder any  // the link; nil when it has been displaced
	from   Source
	since  time.Time
	state  slotState
	pool   *pool
	turn   *list.Element // in pool's order, while it waits
	moving atomic.Bool   // whoever serves the link waits for the lock, and not for the far end
}

type slotState uint8

const (
	waiting slotState = iota
	displaced
	free
	heard
	authenticated
	ended
)

// Free gives the slot to others: the link counts for something else by now.
func (s *Slot) Free() {
	if s == nil {
		return
	}
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	if s.of.free(s) {
		s.owner.leftLocked()
	}
}

// Authenticate is Free for a link whose peer has proved who it is and is trusted: its source is
// known from now on, until some time after End.
func (s *Slot) Authenticate() {
	if s == nil {
		return
	}
	s.moving.Store(true)
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	if s.of.authenticate(s) {
		s.owner.leftLocked()
	}
}

// Heard is Free for a link, from a source, on which all has come that its far end has to say to
// be authenticated or refused: it waits for nobody but this node, which may have much to do, and
// makes no room for others meanwhile. It reports false if the link has had to before.
func (s *Slot) Heard(from Source) bool {
	if s == nil {
		return true
	}
	s.moving.Store(true)
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	if s.state == waiting {
		s.pool.release(s, heard)
		s.from = from
		s.owner.leftLocked()
	}
	return s.state != displaced
}

// End is the end of the link.
func (s *Slot) End(now time.Time) {
	if s == nil {
		return
	}
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	if s.of.end(s, now) {
		s.owner.leftLocked()
	}
}

// slots are the unauthenticated links: nobody knows yet who made them, or where they lead.
// Everybody can make those, so there is room for so many, and for as many more from known sources.
// It has no lock.
type slots struct {
	common, reserve pool
	known           *known
	leaving         int // links that have been displaced, and are not at their end yet
	mostLeaving     int
}

func newSlots(most int) slots {
	return slots{
		common: newPool(most, slotGrace), reserve: newPool(most, slotGrace), known: newKnown(),
		mostLeaving: max(most/slotsKept, 1),
	}
}

// useQuiet has a link on which something is to be read make no room: see pool.
func (a *slots) useQuiet(quiet func(holder any) bool) {
	a.common.quiet, a.reserve.quiet = quiet, quiet
}

// admit gives a link from a source a slot, or says which limit is in the way. A few sources that
// take all they can do not keep others out, for the last slots are for sources that have few; nor
// do many, for the oldest link, which is to be reset, makes room when those are taken too. Those
// behind the address of one that takes all it can have its slots to share.
func (a *slots) admit(from Source, now time.Time) (s, old *Slot, err error) {
	s = &Slot{of: a, from: from, since: now}
	old, err = a.place(s, a.poolsFor(from, now))
	if err != nil {
		return nil, nil, err
	}
	return s, old, nil
}

// poolsFor returns where a link from a source has its slot, the first choice first.
func (a *slots) poolsFor(from Source, now time.Time) []*pool {
	if a.known.has(from, now) {
		return []*pool{&a.reserve, &a.common}
	}
	return []*pool{&a.common}
}

// place gives s a slot in one of some pools, or says which limit is in the way. old is who makes
// room.
func (a *slots) place(s *Slot, pools []*pool) (old *Slot, err error) {
	for _, p := range pools {
		if err = p.take(s); err == nil {
			return nil, nil
		}
	}
	if a.leaving >= a.mostLeaving {
		return nil, err
	}
	for _, p := range pools {
		if old := p.displaceFor(s); old != nil {
			a.leaving++
			return old, nil
		}
	}
	return nil, err
}

// taken returns how many slots are in use.
func (a *slots) taken() int { return a.common.taken.all + a.reserve.taken.all }

// free, authenticate and end change a slot's state. They report whether the link has counted as
// unauthenticated until now.
func (a *slots) free(s *Slot) bool {
	switch s.state {
	case waiting:
		s.pool.release(s, free)
	case displaced:
		a.leaving--
		s.state = free
	default:
		return false
	}
	return true
}

func (a *slots) authenticate(s *Slot) bool {
	counted := a.free(s)
	if !counted && s.state != heard {
		return false
	}
	a.known.enter(s.from)
	s.state = authenticated
	return counted
}

func (a *slots) end(s *Slot, now time.Time) bool {
	counted := a.free(s)
	if s.state == authenticated {
		a.known.leave(s.from, now)
	}
	s.state = ended
	return counted
}

// pool is some of the slots.
type pool struct {
	most   int
	grace  time.Duration // before a link may have to make room
	kept   int           // of the slots, for sources that have fewer than few
	few    int
	taken  counter
	oldest list.List // of *Slot, the oldest first

	// quiet tells whether all that has come on a link has been read; nil: that of each. A link on
	// which something is to be read waits for this node, and need not make room.
	quiet func(holder any) bool
}

func newPool(most int, grace time.Duration) pool {
	kept := most / slotsKept
	return pool{
		most: most, grace: grace, kept: kept, few: min(slotsFew, max(kept/2, 1)),
		taken: newCounter(),
	}
}

// take gives s room if there is some.
func (p *pool) take(s *Slot) error {
	limits := Limits{Connections: p.most, PerSource: p.most}
	if p.taken.by[s.from] >= p.few {
		limits.Connections -= p.kept
	}
	if err := p.taken.admit(limits, BySource(s.from)); err != nil {
		return err
	}
	s.pool, s.turn = p, p.oldest.PushBack(s)
	return nil
}

// displaceFor gives s the room of the oldest link that has had its time, where there is no other:
// of any source, or if that of s has not few, of the same.
func (p *pool) displaceFor(s *Slot) *Slot {
	few := p.taken.by[s.from] < p.few
	for e := p.oldest.Front(); e != nil; e = e.Next() {
		old := e.Value.(*Slot)
		if s.since.Sub(old.since) < p.grace {
			return nil
		}
		if (few || old.from == s.from) && !old.moving.Load() &&
			(p.quiet == nil || p.quiet(old.holder)) {
			p.release(old, displaced)
			p.taken.enter(s.from)
			s.pool, s.turn = p, p.oldest.PushBack(s)
			return old
		}
	}
	return nil
}

// release takes the room back from s, which is in another state from now on.
func (p *pool) release(s *Slot, next slotState) {
	p.oldest.Remove(s.turn)
	s.turn, s.state = nil, next
	p.taken.leave(s.from)
}

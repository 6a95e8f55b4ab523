package admission

import "time"

// relayedGrace is for a link that a relay leads here, and on which a handshake has begun, before it
// may have to make room: a round trip.
const relayedGrace = 250 * time.Millisecond

// Way is by what links come that this node has not accepted itself: a relay. They have slots of
// their own, so that whoever comes that way takes them from nobody else. Where they come from is
// known by what the relay says, and to the relay alone.
//
//	silent ──▶ in a session     it says that it belongs to a session that is here
//	   └─────▶ speaking         a handshake's first message has come whole
//
// A link that says nothing makes room for the next one at once: an honest one says in its first
// packet what it wants. One on which something has come that nobody has read yet, since this
// machine has other things to do, is not such a link.
type Way struct {
	owner *Admission
	name  string
	silent,
	inSession,
	speaking slots
}

// NewWay returns a way that goes by name, which sources that are known are known by: the same name
// is the same way. quiet is as for New.
func (a *Admission) NewWay(name string, quiet func(holder any) bool) *Way {
	a.mu.Lock()
	defer a.mu.Unlock()
	most := a.limits.Relayed
	slotsOf := func(most int, grace time.Duration) slots {
		s := newSlots(most)
		s.common.grace, s.reserve.grace, s.known = grace, grace, a.links.known
		return s
	}
	silent, inSession := slotsOf(most, 0), slotsOf(most, 0)
	silent.useQuiet(quiet)
	inSession.useQuiet(quiet)
	return &Way{
		owner: a, name: name,
		silent: silent, inSession: inSession, speaking: slotsOf(most, relayedGrace),
	}
}

// Source returns the source that the relay calls label.
func (w *Way) Source(label string) Source { return FromName("by " + w.name + " " + label) }

// Enter gives a link that comes by the way a slot, as Admission.Enter does.
func (w *Way) Enter(holder any, from Source, now time.Time) (*Slot, any, error) {
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	return w.owner.enterLocked(&w.silent, w, holder, from, now)
}

// Identify says where the link comes from, by the name of which it has come, and whether it says
// that it belongs to a session that is here. The rest is as for Enter. It does nothing for a link
// that does not come by a way.
func (s *Slot) Identify(
	from Source, inSession bool, now time.Time,
) (displaced any, err error) {
	if s == nil || s.way == nil {
		return nil, nil
	}
	to := &s.way.silent
	if inSession {
		to = &s.way.inSession
	}
	return s.move(to, from, now)
}

// Speak says that a whole message has come on the link, and that it is worth an answer. The rest
// is as for Enter. It does nothing for a link that does not come by a way.
func (s *Slot) Speak(now time.Time) (displaced any, err error) {
	if s == nil || s.way == nil {
		return nil, nil
	}
	return s.move(&s.way.speaking, s.from, now)
}

// move gives s another slot, in place of the one that it has. Where there is none, it has none any
// more.
func (s *Slot) move(to *slots, from Source, now time.Time) (holder any, err error) {
	a := s.owner
	s.moving.Store(true)
	a.mu.Lock()
	defer a.mu.Unlock()
	s.moving.Store(false)
	switch {
	case s.state == displaced:
		return nil, ErrTooMany
	case s.state != waiting:
		return nil, nil
	}
	s.pool.release(s, waiting) // before it could make room for itself
	s.from, s.since = from, now
	old, err := to.place(s, to.poolsFor(from, now))
	if err != nil {
		s.state = free
		a.leftLocked()
		refusedBy(s.way)
		return nil, err
	}
	s.of = to
	return displace(old), nil
}

package channel

import (
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
)

// part is called when the flow ends on this side otherwise than in both directions. said tells that
// its last record says so: that is kept until the other end has opened it. Then, or at once if no
// record says so, the other end is told not to wait for another link.
func (f *Flow) part(said bool) {
	if said && f.lasts() {
		f.remain()
		return
	}
	for {
		s := f.Session()
		f.partFrom(s, said)
		if f.Session() == s { // else it has been moved meanwhile by who had not seen it part
			return
		}
	}
}

// partFrom is part in the session that the flow is in.
func (f *Flow) partFrom(s *Session, said bool) {
	s.reports.part(f.lasting.id)
	over := s.Err() != nil && !s.isLost() || said || f.lasting.kept.isUnsent()
	if over || s.role != identity.Initiator || !f.lasting.part() {
		f.lasting.finish()
		f.tidy()
		return
	}
	// The session may be lost already, and not be known to be: then the other end is told in the one
	// that takes its place. Until it is known to have been told, the flow is remembered.
	f.lasting.kept.giveUp()
	s.lingering.part(f.lasting.id)
	s.lingering.add(s, f, true)
	if s.isLost() {
		s.suspend(f)
	}
}

// part takes note that the flow has parted, if it would be resumed.
func (l *lasting) part() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parted = !l.over
	return l.parted
}

func (l *lasting) hasParted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.parted
}

// hasHeardEnd tells whether the other end has ended its direction.
func (f *Flow) hasHeardEnd() bool {
	f.life.Lock()
	defer f.life.Unlock()
	return f.life.ended == 2 || f.life.ended == 1 && !f.life.sentEnd
}

// partIn tells the other end of a flow that has parted, which has been found in s.
func (f *Flow) partIn(s *Session, l *link) {
	s.reports.part(f.lasting.id)
	f.lasting.finish()
	_ = l.Reset()
	f.tidy()
}

// remain leaves the flow, which has ended on this side, to be resumed until the other end has
// opened all of it.
func (f *Flow) remain() {
	if f.lasts() {
		s := f.Session()
		s.lingering.add(s, f, f.is(flowClosed))
	}
	f.tidy()
}

// lingering is a session's flows that have ended on this side, the oldest first. One that has ended
// in both directions lingers for as long as the far end takes to read it. One that this side has
// closed or reset does not linger for longer than it would wait for a link: the far end may have
// done the same, and then nobody opens what the other one says, and nobody acknowledges anything.
type lingering struct {
	mu    sync.Mutex
	flows []lingerer
	tidy  int       // when there are so many, those that linger no more are taken out
	next  time.Time // when one that is closed is let go; zero: there is none

	// parted is those of which the other end is told that they are gone, and the first ping that was
	// sent behind that: its pong says that the other end knows. It is 0 until they have been told of.
	parted map[flowID]uint64
}

type lingerer struct {
	flow   *Flow
	since  time.Time
	closed bool
}

const (
	// lingeringMost is how many flows of a session linger at most: of a far end that acknowledges,
	// as many as end within some 200 ms.
	lingeringMost = 4096
	// lingeringFew need not be looked at.
	lingeringFew = 64
	// lingeringLeaving is how long a flow that is closed lingers in a session that is going away:
	// what the session goes through would wait for it. What has been said is on its way, and arrives
	// as it would have without all this.
	lingeringLeaving = 2 * time.Second
)

func (l *lingering) add(s *Session, f *Flow, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.flows = append(l.flows, lingerer{f, now, closed})
	if closed && l.next.IsZero() {
		l.next = now.Add(s.lingers())
		s.reports.within(s.lingers())
	}
	if len(l.flows) < l.tidy {
		return
	}
	l.sweepLocked(s)
	if n := len(l.flows); n > lingeringMost {
		for _, f := range l.flows[:n/2] {
			f.letGo()
		}
		l.sweepLocked(s)
	}
	l.tidy = max(2*len(l.flows), lingeringFew)
}

// part remembers a flow of which the other end is about to be told that it is gone.
func (l *lingering) part(id flowID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parted == nil {
		l.parted = make(map[flowID]uint64)
	}
	l.parted[id] = 0
}

// said takes note that the other end has been told that flows are gone, before the next ping.
func (l *lingering) said(gone []flowID, pings uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range gone {
		if _, ok := l.parted[id]; ok {
			l.parted[id] = pings + 1
		}
	}
}

// heard takes note that the other end of s has answered a ping: it knows what was said before.
func (l *lingering) heard(s *Session, ping uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, first := range l.parted {
		if first == 0 || ping < first {
			continue
		}
		delete(l.parted, id)
		if f := s.flowOf(id); f != nil {
			f.lasting.finish()
			f.tidy()
		}
	}
}

// lingers is for how long a flow that is closed does in s. One that waits for a link has time.
func (s *Session) lingers() time.Duration {
	if s.life.goingAway.happened() && s.suspending.all.Load() == 0 {
		return min(lingeringLeaving, s.survive)
	}
	return s.survive
}

// expire lets go of those of s that are closed and have lingered for as long as they may.
func (l *lingering) expire(s *Session, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next.IsZero() {
		return
	}
	if !now.Before(l.next) {
		l.expireLocked(s, now)
	}
	if !l.next.IsZero() {
		s.reports.within(l.next.Sub(now))
	}
}

func (l *lingering) expireLocked(s *Session, now time.Time) {
	l.next = time.Time{}
	for _, f := range l.flows {
		over := f.since.Add(s.lingers())
		switch {
		case !f.closed || !f.lingersIn(s):
		case !now.Before(over):
			f.letGo()
		case l.next.IsZero():
			l.next = over
		}
	}
	l.sweepLocked(s)
}

// letGo has the flow not resumed any more.
func (f *lingerer) letGo() {
	f.flow.lasting.finish()
	f.flow.tidy()
}

// holds tells whether flows linger in s, which is going away and would end. It is to be asked again
// when they do not.
func (l *lingering) holds(s *Session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.expireLocked(s, now)
	if !l.next.IsZero() {
		s.reports.within(l.next.Sub(now))
	}
	return len(l.flows) > 0
}

func (l *lingering) sweepLocked(s *Session) {
	l.flows = slices.DeleteFunc(l.flows, func(f lingerer) bool { return !f.lingersIn(s) })
}

// lingersIn tells whether the flow is s's, and the other end may not have all of it.
func (f *lingerer) lingersIn(s *Session) bool { return f.flow.Session() == s && f.flow.lasts() }

// letGo lets go of what has lingered for too long, and has that done again in time.
func (s *Session) letGo(now time.Time) {
	s.lingering.expire(s, now)
	s.tellIfLeaving()
}

// tellIfLeaving has a session that is going away looked at: it may have nothing left to do.
func (s *Session) tellIfLeaving() {
	if s.life.goingAway.happened() {
		s.pool.freed.tell()
	}
}

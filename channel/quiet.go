package channel

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
)

// A session's links that carry nothing are made to carry something before a box in the middle ends
// them: see tolerance. In a flow that is an empty data record, in a direction that is open. The
// initiator sees to it, and the responder where the initiator has ended its own direction. Flows
// that nobody would miss soon get theirs with the session's pings, where those come in time. A link
// without a flow tells how long it takes; where that is known to be short, a few get an empty flow
// now and then.
const (
	// quietRounds is how many times a link is looked at before it has been quiet for too long.
	quietRounds = 2
	// quietBurst is how many links are written to at once, and quietPause the time between: many at
	// a time would flood whoever receives that.
	quietBurst = 64
	quietPause = 20 * time.Millisecond
	// probeAfter is how old a session is before it has a link made to try the way with: others may
	// have left one by then, and many a session is over.
	probeAfter = 10 * time.Second
)

// quietLinks is when and how links that carry nothing are looked after. Its timer is told by
// whoever has a link for it; what is done then is one of the session's chores.
type quietLinks struct {
	timer   *alarm
	on      atomic.Bool               // the timer is running
	zero    time.Time                 // that links count from
	way     atomic.Pointer[tolerance] // never nil
	writing atomic.Bool               // links are being written to
	trying  atomic.Bool               // a link is being made to try out what the way bears
}

func newQuietLinks(timer *alarm) *quietLinks {
	q := &quietLinks{timer: timer, zero: time.Now()}
	q.way.Store(new(tolerance))
	return q
}

// begin has the links looked at from now on, as long as there is something to look after.
func (q *quietLinks) begin() {
	if !q.on.Swap(true) {
		q.timer.Reset(q.pause())
	}
}

// at is a time as links remember it.
func (q *quietLinks) at(now time.Time) time.Duration { return now.Sub(q.zero) }

// pause is how long until the next look, not at the same time as everybody else.
func (q *quietLinks) pause() time.Duration {
	d := q.way.Load().allows() / quietRounds
	return d - rand.N(d/8)
}

// quietWork is what a look has found to do.
type quietWork struct {
	flows []*Flow       // that have been quiet for too long
	links []*link       // without a flow, the same
	try   bool          // how long a link may be quiet
	again bool          // there will be something to do
	next  time.Duration // when at the latest; 0: after a pause
}

// Follows says that the session is on the same way as one before it, so that what has been found
// out about that holds: how long links may carry nothing. It does not hold if that one was cut off,
// which may have been for just that.
func (s *Session) Follows(before *Session) {
	way := before.quiet.way.Load()
	if err := before.Err(); errors.Is(err, ErrCut) || errors.Is(err, ErrMissedPongs) {
		way.doubt()
	}
	s.quiet.way.Store(way)
}

// lookAfterQuiet looks after the links that carry nothing.
func (s *Session) lookAfterQuiet(now time.Time) {
	q := s.quiet
	work := s.pool.quiet(now, q)
	if len(work.flows)+len(work.links) > 0 && !q.writing.Swap(true) {
		s.tasks.Go(func() {
			defer q.writing.Store(false)
			s.writeQuiet(work)
		})
	}
	if work.try && s.config.Probe && !q.trying.Swap(true) {
		s.tasks.Go(func() {
			defer q.trying.Store(false)
			_ = s.openEmpty()
		})
	}
	if work.again {
		pause := q.pause()
		if work.next > 0 {
			pause = min(pause, work.next)
		}
		q.timer.Reset(pause)
		return
	}
	q.on.Store(false)
	if s.pool.hasQuiet(q) { // since
		q.begin()
	}
}

// keepBackground has flows that nobody would miss soon, and that nothing else has moved, carry
// something when the session is pinged, if they would otherwise have to before the next time: so
// both ends wake up once for all there is, and a relay has many such sessions.
func (s *Session) keepBackground(now time.Time) {
	if s.role != identity.Initiator {
		return
	}
	most := s.quiet.way.Load().allows() - s.rest(0)
	if flows := s.pool.keepBackground(s.quiet.at(now), most); len(flows) > 0 {
		s.tasks.Go(func() { s.writeQuiet(quietWork{flows: flows}) })
	}
}

// keepBackground returns those of the flows that have been quiet for more than most.
func (p *linkPool) keepBackground(at, most time.Duration) (flows []*Flow) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.background == 0 {
		return nil
	}
	for l := range p.links {
		if !l.background || !l.kept || at-l.since <= most {
			continue
		}
		if f := l.toKeepAlive(); f != nil && f.moves.Load() == l.moves {
			l.keep(f, at)
			flows = append(flows, f)
		}
	}
	return flows
}

// toKeepAlive returns the flow on l if it is for this side to have it carry something, or nil.
func (l *link) toKeepAlive() *Flow {
	if f := l.flow.Load(); f != nil && l.by == nil && f.isToKeepAlive() {
		return f
	}
	return nil
}

// keep takes note that the flow on l is about to carry something for no other reason.
func (l *link) keep(f *Flow, at time.Duration) {
	l.moves, l.since, l.kept = f.moves.Load()+1, at, true
}

// isDue tells whether the flow on l has been quiet for so long, by the time at, that it is to carry
// something. One that nobody would miss soon may wait for the session's next ping for as long as
// the way allows; left is how long that is.
func (l *link) isDue(f *Flow, at, allows time.Duration) (due bool, left time.Duration) {
	switch moves := f.moves.Load(); {
	case moves != l.moves:
		l.moves, l.since, l.kept = moves, at, false
	case l.background && l.kept:
		left = l.since + allows - at
		return left <= 0, left
	default:
		due = at-l.since >= allows/(quietRounds+1)
	}
	return due, 0
}

// writeQuiet has links carry something, a few at a time.
func (s *Session) writeQuiet(work quietWork) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	for i, f := range work.flows {
		if i%quietBurst == quietBurst-1 {
			pause.Reset(quietPause)
			select {
			case <-pause.C:
			case <-s.Done():
				return
			}
		}
		f.keepAlive()
	}
	for _, l := range work.links {
		_ = s.emptyFlow(l)
	}
}

// quiet finds out what to do for links that carry nothing.
func (p *linkPool) quiet(now time.Time, q *quietLinks) (work quietWork) {
	p.mu.Lock()
	defer p.mu.Unlock()
	way := q.way.Load()
	if p.err != nil {
		return quietWork{}
	}
	if p.lost > 0 { // and the session is here: it was not the end of everything
		way.noteCut(p.lost, now)
		p.lost = 0
	}
	if p.role == identity.Initiator {
		p.tryQuietLocked(now, q, &work)
	}
	at, writing := q.at(now), q.writing.Load()
	for l := range p.links {
		f := l.toKeepAlive()
		if f == nil {
			continue
		}
		work.again = true
		due, left := l.isDue(f, at, way.allows())
		if due {
			work.flows = append(work.flows, f)
			if l.background && !writing { // or it is not written to
				l.keep(f, at)
			}
		} else if left > 0 && (work.next == 0 || left < work.next) {
			work.next = left
		}
	}
	return work
}

// tryQuietLocked learns from the initiator's links without a flow.
func (p *linkPool) tryQuietLocked(now time.Time, q *quietLinks, work *quietWork) {
	way := q.way.Load()
	for len(p.idle) > 0 && !p.idle[0].Quiet() {
		l := p.idle[0]
		p.lost = max(p.lost, q.at(now)-l.since)
		p.idle = p.idle[1:]
		delete(p.links, l)
		_ = l.Conn.Close()
		p.prewarm.fail() // more of them would not help
	}
	if len(p.idle) > 0 {
		way.noteLived(q.at(now) - p.idle[0].since)
	}
	known := way.isKnown(now)
	switch {
	case p.goingAway.happened():
	case !known:
		work.again, work.try = true, len(p.idle) == 0 && q.at(now) > probeAfter
	case way.isShort() && q.writing.Load():
		work.again = true // when those before are done
	case way.isShort():
		n := max(len(p.idle)-linkIdleKept, 0)
		work.links = append(work.links, p.idle[n:]...)
		p.idle = p.idle[:n]
		work.again = work.again || len(work.links) > 0 || p.background > 0
	case p.activity.none() && p.background > 0:
		// Nobody will want them soon: what is left is a claim, or the like.
		for _, l := range p.idle {
			delete(p.links, l)
			_ = l.Conn.Close()
		}
		p.idle = p.idle[:0]
	}
}

// hasQuiet tells whether there is a link that needs to be looked after.
func (p *linkPool) hasQuiet(q *quietLinks) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.toKeepAlive() != nil {
			return p.err == nil
		}
	}
	return false
}

// lose takes note that l has ended. How long nothing had passed on it matters if it was long.
func (p *linkPool) lose(l *link, f *Flow, q *quietLinks) {
	p.mu.Lock()
	defer p.mu.Unlock()
	atEnd := f.moves.Load() == l.moves+1 // one more for the end
	if atEnd && !l.unauthenticated.Load() && l.by == nil {
		p.lost = max(p.lost, q.at(time.Now())-l.since)
	}
}

// isToKeepAlive tells whether it is for this side to have the flow carry something.
func (f *Flow) isToKeepAlive() bool {
	f.life.Lock()
	defer f.life.Unlock()
	return f.life.state == flowOpen && !f.life.sentEnd &&
		(f.Session().role == identity.Initiator || f.life.ended > 0)
}

// keepAlive sends an empty record, unless that has to wait: then something is under way.
func (f *Flow) keepAlive() {
	s := &f.sending
	if !s.TryLock() {
		return
	}
	defer s.Unlock()
	if s.err == nil && !s.ended && s.hello == nil && f.isToKeepAlive() &&
		f.carrier().TakesMore() {
		defer f.suspendWriteDeadline()()
		_ = f.sendRecordLocked(typeData)
	}
}

// suspendWriteDeadline takes the write deadline off the carrier, until the returned function is
// called: it was meant for somebody else's write, which is over.
func (f *Flow) suspendWriteDeadline() (restore func()) {
	set := func(by func() time.Time) {
		f.life.Lock()
		defer f.life.Unlock()
		if f.life.state == flowOpen && !f.life.writeBy.IsZero() {
			_ = f.carrier().SetWriteDeadline(by())
		}
	}
	set(func() time.Time { return time.Time{} })
	return func() { set(func() time.Time { return f.life.writeBy }) }
}

// TakesMore implements netio.MoreTaker.
func (f *Flow) TakesMore() bool {
	s := &f.sending
	if !s.TryLock() {
		return false
	}
	defer s.Unlock()
	return s.err == nil && !s.ended && f.carrier().TakesMore()
}

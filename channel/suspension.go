package channel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
)

const (
	// resumeAtOnce is how many of a session's flows are resumed at the same time.
	resumeAtOnce = 64
	// resumeTimeout is how long one attempt may take, once its link has been made.
	resumeTimeout = 5 * time.Second
	// resumeRetry is the pause after an attempt that failed, and resumeRetryMax after many.
	resumeRetry     = 50 * time.Millisecond
	resumeRetryMax  = 2 * time.Second
	resumeRetryMost = 6 // doublings
	// resumeFree is how often a flow may lose its link as soon as it has gone on until there is a
	// pause.
	resumeFree = 4
	// resumeFresh is for how long at least it is tried to resume a flow that the far end has never
	// answered, while the session that it was opened in lives, and resumeFreshTries how often.
	resumeFresh      = time.Second
	resumeFreshTries = 3
	// answerWait is how long such a flow waits for the far end to say whether it has come, and
	// tallyWait where that is going away, and so will say it of all.
	answerWait = time.Second
	tallyWait  = 3 * time.Second
)

// suspension is a session's flows that wait for a link, and the making of those links. It outlives
// the session, and ends when nothing waits any more.
type suspension struct {
	session *Session
	began   time.Time
	wake    signal
	ways    chan *Session // brings sessions that may take the session's place
	stray   chan bool     // gets something when a way leads elsewhere for good

	// run's own:
	review  time.Time       // when trust is decided the next time at the latest
	sought  map[string]bool // ways on which those are looked for, or were; nil before seek
	seekers int             // on how many that goes on
	gone    time.Time       // when the far end's process was said to be gone; zero: it was not

	mu      sync.Mutex
	looks   looks // whose time is over
	waiting map[*Flow]*wait
	ready   []*Flow  // of those, whose turn it is, the first first
	trying  int      // of those
	next    *Session // that has been found in place of the session
	resumed int
	lost    int
	failure error // of the last one that was lost
	over    bool
	dead    bool // it has never begun: the endpoint is being closed
}

// wait is one flow's.
type wait struct {
	began  time.Time
	since  carrier    // that it was on then
	until  time.Time  // when it is given up
	again  time.Time  // when its turn is; zero while it is, or is being resumed
	asked  []*Session // in which it has been tried: for the responder it may be in any of them
	tries  int        // as far as the next pause depends on it
	failed int

	askedOf  bool // the far end has been asked whether the flow has come
	stranded bool // there is nothing to wait for but the answer

	counted bool // among those that are suspended
}

// suspend has f, which has no link, resumed, or ends it if that cannot be.
func (s *Session) suspend(f *Flow) {
	for u := s.suspension(); !u.add(f); u = s.suspension() {
		if u.dead {
			f.fail(ErrClosed)
			return
		}
	}
}

// suspension returns what there is, or begins one.
func (s *Session) suspension() *suspension {
	s.suspending.Lock()
	defer s.suspending.Unlock()
	if s.suspending.now == nil {
		u := &suspension{
			session: s, began: time.Now(), wake: newSignal(),
			waiting: make(map[*Flow]*wait), ways: make(chan *Session),
			stray: make(chan bool),
		}
		if !s.endpoint.run(u.run) {
			u.over, u.dead = true, true
			return u
		}
		s.suspending.now = u
	}
	return s.suspending.now
}

// add reports false if the suspension is over.
func (u *suspension) add(f *Flow) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return false
	}
	w, ok := u.waiting[f]
	if !ok {
		w = &wait{began: time.Now(), since: f.carrier(), until: u.session.timeLeft()}
		u.waiting[f] = w
		if w.tries = f.lasting.triedOften(); w.tries > 0 {
			w.again = time.Now().Add(resumeRetry << w.tries)
		} else {
			u.ready = append(u.ready, f)
		}
		u.session.suspending.all.Add(1)
		u.wake.tell()
	}
	w.count(f)
	return true
}

// count counts f once it has no link: one that is only to be handed over has.
func (w *wait) count(f *Flow) {
	if !w.counted && (f.isAbsent() || !f.isOpen()) {
		w.counted = true
		flowsSuspended.Inc()
	}
}

// remove takes out a flow that waits no more.
func (u *suspension) remove(f *Flow, resumed bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.removeLocked(f, resumed)
}

func (u *suspension) removeLocked(f *Flow, resumed bool) {
	w, ok := u.waiting[f]
	if !ok {
		return
	}
	for _, s := range w.asked {
		s.suspending.all.Add(-1)
		s.pool.freed.tell()
	}
	delete(u.waiting, f)
	u.session.suspending.all.Add(-1)
	u.session.pool.freed.tell()
	if w.counted {
		flowsSuspended.Dec()
	}
	if resumed {
		u.resumed++
	}
	if len(u.waiting) == 0 {
		u.wake.tell()
	}
}

// unsuspend takes f, which has been resumed or waits elsewhere, out of what waits in the session.
func (s *Session) unsuspend(f *Flow, resumed bool) {
	s.suspending.Lock()
	u := s.suspending.now
	s.suspending.Unlock()
	if u != nil {
		u.remove(f, resumed)
	}
}

// hold keeps the session from ending in order until release is called.
func (s *Session) hold() (release func()) {
	s.suspending.all.Add(1)
	return func() {
		s.suspending.all.Add(-1)
		s.pool.freed.tell()
	}
}

// finishIfEmpty ends the suspension if nothing waits.
func (u *suspension) finishIfEmpty() bool {
	s := u.session
	s.suspending.Lock()
	defer s.suspending.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.waiting) > 0 {
		return false
	}
	u.over = true
	s.suspending.now = nil
	return true
}

// run resumes what waits, or gives it up, until nothing waits.
func (u *suspension) run() {
	s := u.session
	var tasks sync.WaitGroup
	ctx, cancel := context.WithCancel(s.endpoint.ctx)
	defer func() {
		cancel()
		tasks.Wait()
		u.tell(true)
	}()
	lost, leaving := s.Done(), s.GoingAway()
	if s.role == identity.Responder {
		leaving = nil
	}
	changed := s.config.Trust.Changed()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !u.finishIfEmpty() {
		select {
		case <-u.wake:
		case <-timer.C:
			u.seekMore(ctx, &tasks)
		case <-changed:
			changed = s.config.Trust.Changed()
			u.reviewTrust()
		case <-lost:
			lost = nil
			u.sessionEnded(ctx, &tasks)
		case <-leaving:
			leaving = nil
			u.seek(ctx, &tasks)
		case next := <-u.ways:
			u.found(next)
		case gone := <-u.stray:
			u.strayed(ctx, &tasks, gone)
		case <-ctx.Done():
			u.failAll(ErrClosed)
			continue
		}
		if !time.Now().Before(u.review) {
			u.reviewTrust()
		}
		u.giveUpGone(time.Now())
		u.work(ctx, &tasks)
		timer.Reset(u.expire(time.Now()))
	}
}

// tell tells whoever wants to know.
func (u *suspension) tell(over bool) {
	s := u.session
	if s.config.Suspended == nil {
		return
	}
	u.mu.Lock()
	now := Suspension{
		Reason: s.Err(), Over: over, Waiting: len(u.waiting), Resumed: u.resumed,
		Lost: u.lost, Failure: u.failure, Took: time.Since(u.began),
	}
	u.mu.Unlock()
	s.config.Suspended(s, now)
}

// sessionEnded has what waits resumed elsewhere, if the session has ended because nothing came
// through any more. One that the far end has ended in good order drains.
func (u *suspension) sessionEnded(ctx context.Context, tasks *sync.WaitGroup) {
	s := u.session
	switch err := s.Err(); {
	case s.isLost():
	case errors.Is(err, ErrGoingAway):
		u.failAbsent(sessionEnded(err))
		return
	default:
		u.failAll(sessionEnded(err))
		return
	}
	u.tell(false)
	if s.role == identity.Initiator {
		u.seek(ctx, tasks)
	}
}

// reviewTrust ends what waits if the far end is not trusted any more. The session may have ended,
// and with it whatever else would notice.
func (u *suspension) reviewTrust() {
	until, err := u.session.trust.review()
	u.review = time.Now().Add(reviewInterval)
	if !until.IsZero() && until.Before(u.review) {
		u.review = until
	}
	if err != nil {
		u.failAll(err)
	}
}

// expireEvery is how often it is looked whose time is over, and whose turn it is.
const expireEvery = 100 * time.Millisecond

// waits tells whether there is a reason for f to wait: it has no link, has ended and may not have
// brought all, or is to leave a session that is going away. It may have got one meanwhile.
func (u *suspension) waits(f *Flow) bool {
	s := u.session
	switch {
	case f.Session() != s || !f.lasts():
		return false
	case f.isAbsent() || !f.isOpen():
		return true
	}
	return s.role == identity.Initiator && f.mayLeave() &&
		(s.life.goingAway.happened() || s.goesElsewhere(f))
}

// isStranded tells whether f has lost its link in the moment in which it became known that nothing
// would resume it: whoever learned that has left it to a link that it still had then.
func (u *suspension) isStranded(f *Flow) bool {
	return f.Session() == u.session && f.isAbsent() && f.lasting.isOver()
}

// strands returns why a flow is stranded: the far end has said that it does not have the flow any
// more, or the session has ended.
func (s *Session) strands() error {
	if err := s.Err(); err != nil && !s.isLost() {
		return sessionEnded(err)
	}
	return ErrGone
}

// expire gives up whatever has waited for as long as it may, and returns when to do so again.
func (u *suspension) expire(now time.Time) time.Duration {
	var late, stranded []*Flow
	unfound, why := u.isUnfound(), errNoWay
	if unfound {
		why = errUnfound
	}
	u.mu.Lock()
	stood, most := u.looks.stood(now, expireEvery), now.Add(u.session.survive)
	for f, w := range u.waiting {
		if w.until = w.until.Add(stood); w.until.After(most) {
			w.until = most
		}
		if c := f.carrier(); c != w.since && f.isAbsent() { // it has lost its link only since
			w.since, w.began, w.until = c, now, most
		}
		if !w.askedOf && f.isAbsent() && u.mayBeTold(f, w, now) {
			w.askedOf = true
			u.session.reports.ask(f.lasting.id)
		}
		w.count(f)
		switch {
		case u.isStranded(f):
			stranded = append(stranded, f)
		case !u.waits(f):
			u.removeLocked(f, false)
		case (unfound || w.stranded && !u.mayBeTold(f, w, now) || !now.Before(w.until)) &&
			(f.isAbsent() || !f.isOpen()):
			late = append(late, f)
		case !w.again.IsZero() && !now.Before(w.again):
			w.again = time.Time{}
			u.ready = append(u.ready, f)
			u.wake.tell()
		}
	}
	u.mu.Unlock()
	for _, f := range late {
		u.fail(f, why)
	}
	for _, f := range stranded {
		u.fail(f, u.session.strands())
	}
	return expireEvery
}

// mayBeTold tells whether the far end may still say that a flow which has no link has not come.
func (u *suspension) mayBeTold(f *Flow, w *wait, now time.Time) bool {
	s, most := u.session, answerWait
	if s.leaving.Load() {
		most = tallyWait
	}
	return s.role == identity.Initiator && s.Err() == nil && now.Sub(w.began) < most &&
		f.lasting.isFresh()
}

// errNoWay says that a flow has waited for as long as it may.
var errNoWay = fmt.Errorf("%w: its link was lost, and no other way was found in time", ErrCut)

func (u *suspension) failAll(err error) {
	u.mu.Lock()
	all := slices.Collect(maps.Keys(u.waiting))
	u.mu.Unlock()
	for _, f := range all {
		u.fail(f, err)
	}
}

// fail ends what waits because of err. A flow that is in another session by now has been noted here
// too late, and is that one's.
func (u *suspension) fail(f *Flow, err error) {
	if f.Session() != u.session {
		u.remove(f, false)
		return
	}
	if f.isOpen() {
		u.mu.Lock()
		u.lost++
		u.failure = err
		u.mu.Unlock()
	}
	f.fail(err)
	u.remove(f, false)
}

// targetLocked returns the session in which flows can be resumed now, or nil.
func (u *suspension) targetLocked() *Session {
	switch {
	case u.session.role != identity.Initiator:
		return nil
	case u.next != nil && u.next.Err() == nil:
		return u.next
	case u.session.Err() == nil && !u.session.life.goingAway.happened():
		return u.session
	}
	return nil
}

// work begins to resume those whose turn it is, a number at a time.
func (u *suspension) work(ctx context.Context, tasks *sync.WaitGroup) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.trying < resumeAtOnce {
		f, in := u.takeLocked()
		if f == nil {
			break
		}
		u.trying++
		tasks.Go(func() { u.resume(ctx, f, in) })
	}
	if u.session.role == identity.Responder {
		u.ready = nil // it is the initiator's to do
	}
}

// takeLocked returns the next flow that is to be resumed, and where, or nil. One that has no reason
// to wait does not, from then on: if it loses its link again, it has its turn again.
func (u *suspension) takeLocked() (*Flow, *Session) {
	in := u.targetLocked()
	for in != nil && len(u.ready) > 0 {
		f := u.ready[0]
		u.ready = u.ready[1:]
		w, ok := u.waiting[f]
		if ok && u.waits(f) {
			w.askIn(in)
			return f, in
		}
		if !u.isStranded(f) { // else expire ends it
			u.removeLocked(f, false)
		}
	}
	return nil, nil
}

// askIn takes note that it is tried to resume the flow in s, which does not end in order until it
// is known where the flow is.
func (w *wait) askIn(s *Session) {
	if !slices.Contains(w.asked, s) {
		w.asked = append(w.asked, s)
		s.suspending.all.Add(1)
	}
}

// resume resumes f, and then others as long as it is somebody's turn. What is missing is sent again
// beside that: it takes as long as whoever reads it does.
func (u *suspension) resume(ctx context.Context, f *Flow, in *Session) {
	for f != nil {
		l, theirs, err := f.reach(ctx, in)
		switch {
		case err == nil && f.lasting.hasParted():
			f.partIn(in, l)
			u.remove(f, false)
		case err == nil:
			f, in := f, in
			going := in.endpoint.run(func() {
				_, err := f.goOn(l, in, theirs)
				u.tried(f, err)
			})
			if !going {
				_ = l.Close()
				u.tried(f, ErrClosed)
			}
		default:
			u.tried(f, err)
		}
		u.mu.Lock()
		if f, in = u.takeLocked(); f == nil {
			u.trying--
		}
		u.mu.Unlock()
	}
}

// tried takes note of how an attempt to resume f has ended.
func (u *suspension) tried(f *Flow, err error) {
	switch {
	case err == nil:
		return
	case errors.Is(err, errStays):
		u.remove(f, false)
		return
	case errors.Is(err, ErrGone):
		u.fail(f, f.gone())
		return
	case errors.Is(err, errGivenUp), errors.Is(err, errNotKept):
		u.fail(f, err)
		return
	case errors.Is(err, ErrNeverSeen): // nothing is lost yet: it may be said again
		f.fail(err)
		u.remove(f, false)
		return
	}
	u.mu.Lock()
	w, ok := u.waiting[f]
	if ok {
		w.failed++
		w.again = time.Now().Add(min(resumeRetry<<w.tries, resumeRetryMax))
		w.tries = min(w.tries+1, resumeRetryMost)
	}
	vain := ok && w.failed >= resumeFreshTries && time.Since(w.began) >= resumeFresh
	if vain && u.mayBeTold(f, w, time.Now()) {
		w.stranded, vain = true, false
	}
	u.mu.Unlock()
	if vain && u.session.Err() == nil && f.lasting.isFresh() {
		u.fail(f, err)
	}
}

// Suspension is what is told of a session's flows that have lost their links.
type Suspension struct {
	Reason  error         // why the session has ended, or nil if it has not
	Over    bool          // none waits any more
	Waiting int           // how many wait
	Resumed int           // how many have gone on
	Lost    int           // how many were open and could not
	Failure error         // why the last one of them could not
	Took    time.Duration // since the first was suspended
}

package channel

import (
	"errors"

	"github.com/secureportal/sp/identity"
)

// isLost tells whether the session has ended because nothing came through any more, which is no
// reason for its flows to end.
func (s *Session) isLost() bool {
	err := s.Err()
	return s.survive > 0 &&
		(errors.Is(err, ErrCut) || errors.Is(err, ErrMissedPongs) || isTimeout(err))
}

// suspend has a flow whose carrier has failed wait for another one. It reports whether the flow
// goes on: it may have another one already. Nothing of it waits.
func (f *Flow) suspend(failed carrier, err error) bool {
	if f.lasting == nil || isTimeout(err) || isRefusal(err) {
		return false
	}
	s := f.Session()
	if s.Err() != nil && !s.isLost() || f.lasting.isOver() || f.lasting.kept.isLost() {
		return false
	}
	defer s.hold()() // without a link the flow is in no list of the session's until it waits
	if _, ok := failed.(*absent); ok || f.carrier() != failed || !f.setAside(failed) {
		return f.isOpen() // somebody else has seen to it
	}
	if l, ok := failed.(*link); ok {
		s.reportLost(f, l)
	}
	s.suspend(f)
	return true
}

// setAside takes the flow off a carrier, which it closes. It reports false if it is not on it any
// more, or has ended.
func (f *Flow) setAside(c carrier) bool {
	if _, ok := c.(*absent); ok {
		return f.isOpen()
	}
	a := newAbsent(c)
	f.life.Lock()
	f.way.Lock()
	ok := f.life.state == flowOpen && f.way.carrier == c
	if ok {
		f.way.carrier = a
		_ = a.SetReadDeadline(f.life.readBy)
		_ = a.SetWriteDeadline(f.life.writeBy)
	}
	f.way.Unlock()
	f.life.Unlock()
	if ok {
		_ = c.Close()
	}
	return ok
}

// isAbsent tells whether the flow has no link.
func (f *Flow) isAbsent() bool {
	_, ok := f.carrier().(*absent)
	return ok
}

// Suspended tells whether the flow has lost its link and waits for another one.
func (f *Flow) Suspended() bool { return f.isAbsent() }

// handOver has the flows of a session that is going away go on in another one, if there is one with
// the same far end. They stay where they are until then.
func (s *Session) handOver() {
	for _, f := range s.endpoint.flows.of(s) {
		if f.lasts() && f.isOpen() && f.mayLeave() {
			s.suspend(f)
		}
	}
}

// mayLeave tells whether the flow can leave a link that is not lost: one of which either end keeps
// nothing any more can go on nowhere else.
func (f *Flow) mayLeave() bool { return !f.lasting.stays.Load() && !f.lasting.kept.isLost() }

// lostWith has the flow resumed, because s is lost, unless it goes on in another session by now:
// the link that it has there is not to be lost with s.
func (f *Flow) lostWith(s *Session) {
	c := f.carrier() // before the session is looked at, which changes before the carrier does
	if f.Session() != s {
		return
	}
	if f.isOpen() && f.lasting.kept.isLost() {
		f.fail(errGivenUp)
		return
	}
	if f.isOpen() && !f.setAside(c) {
		return
	}
	if last := f.lasting.takeLast(); last != nil {
		_ = last.Close()
	}
	s.suspend(f)
}

// linkLost has the flow resumed, because its other end has lost the link.
func (f *Flow) linkLost() {
	if f.isOpen() && f.lasting.kept.isLost() {
		f.fail(errGivenUp)
		return
	}
	defer f.Session().hold()()
	f.loseLink()
	f.Session().suspend(f)
}

func (f *Flow) loseLink() {
	if f.isOpen() {
		f.setAside(f.carrier())
	}
	if last := f.lasting.takeLast(); last != nil {
		_ = last.Close()
	}
}

// failSuspended ends the flow because of err, if it is suspended.
func (f *Flow) failSuspended(err error) {
	if f.isAbsent() {
		f.fail(err)
	}
}

// fail ends the flow because of err: nothing resumes it any more.
func (f *Flow) fail(err error) {
	open := f.isOpen()
	f.lasting.finish()
	f.shut(err)
	f.tidy()
	if do := f.lasting.takeHook(); do != nil && open {
		do()
	}
}

// awaitLinkLocked waits until a flow that has been suspended is on a link again, with all that has
// been sent. The sending lock is not held meanwhile.
func (f *Flow) awaitLinkLocked() error {
	for !f.sending.hurried {
		a, ok := f.carrier().(*absent)
		if !ok {
			break
		}
		f.sending.Unlock()
		err := a.wait(&a.write)
		f.sending.Lock()
		if isTimeout(err) {
			return err
		}
		if !f.isOpen() {
			return f.explain(ErrCut)
		}
	}
	return nil
}

// reportLost has the responder tell that a flow has lost its link, if there is still somebody whom
// it can tell.
func (s *Session) reportLost(f *Flow, l *link) {
	if s.role == identity.Responder {
		s.tellLost(f, l.attempt)
	}
}

// tellLost tells the initiator that a flow has not got, or has lost, the link of an attempt.
func (s *Session) tellLost(f *Flow, attempt uint32) {
	if s.Err() == nil {
		s.reports.lose(lostLink{f.lasting.id, attempt})
	}
}

// waitIn has f, which the initiator goes on with in s, wait for its link there: the session that it
// was in may end before that is done.
func (f *Flow) waitIn(s *Session) {
	before := f.Session()
	defer s.hold()()
	f.loseLink()
	if before != s {
		before.reports.forget(f)
		f.moveTo(s)
		before.unsuspend(f, true)
	}
	s.suspend(f)
}

// moveTo has the flow be in s. An older attempt does not take it back: see putOn.
func (f *Flow) moveTo(s *Session) {
	f.life.Lock()
	defer f.life.Unlock()
	f.in.Store(s)
}

// isRefusal tells whether whoever a link has led to has refused it for good: another one would be
// as well.
func isRefusal(err error) bool {
	var m Misled
	if !errors.As(err, &m) {
		return false
	}
	elsewhere, later := m.Misled()
	return !elsewhere && !later
}

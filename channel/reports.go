package channel

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
)

// What the two ends of a session tell each other of flows that outlive their links goes out on the
// control link, for all flows together: so a direction that has ended needs no way back, and who
// passes links on looks at none of it.
//
//	acknowledge = session (16) | (number (8) | records (8)) × n
//	lost        = session (16) | number (8) | attempt (4)
//	gone        = session (16) | number (8)
const (
	// ackDelay is how long an acknowledgement waits, and ackPause how long that of ackBytes does.
	// ackMost bytes are acknowledged at once: those of all flows of a session together that have
	// ackBytes or more. What an acknowledgement costs are the threads that it wakes at the other
	// end.
	ackBytes = 128 << 10
	ackMost  = 16 << 20
	ackPause = 50 * time.Millisecond
	ackDelay = 200 * time.Millisecond
	// ackAsked is how long one waits that the other end has asked for.
	ackAsked = 5 * time.Millisecond
	// maxAcks is how many flows are in one acknowledgement.
	maxAcks = 4000
	// maxUnknown is how many flows that are not here are spoken of before this side has said so.
	maxUnknown = 1 << 16

	flowIDSize = len(sessionID{}) + 8
	ackSize    = 8 + 8
	lostSize   = flowIDSize + 4
)

// urgency is how soon what a flow has opened is to be acknowledged.
type urgency = uint32

const (
	urgencyNone  urgency = iota // it is not among those that have something unsaid
	urgencySaid                 // it is, but has been acknowledged meanwhile
	urgencySome                 // with the next report, for it says nothing
	urgencyDelay                // within ackDelay
	urgencyMuch                 // within ackPause, or as soon as there is enough of such
	urgencyAsked                // within ackAsked
)

// reports is what a session has to tell of its flows, as one of its chores; whoever reads much
// tells of that himself.
type reports struct {
	timer *alarm       // when that is due
	much  atomic.Int64 // bytes of flows that have much

	mu     sync.Mutex
	due    time.Time // zero: never
	unsaid []*Flow   // have opened something that the other end does not know
	large  []*Flow   // of those, which have much
	lost   []lostLink
	gone   []flowID
	asked  []flowID

	telling struct {
		sync.Mutex // taken before control's turn, and mu
		flows      []*Flow
		record     []byte
	}
}

func newReports(timer *alarm) *reports { return &reports{timer: timer} }

// opened takes note that f has opened a record, and of how much if it has opened much. Nearly
// always it is known that it has something. It reports whether there is so much now that it is to
// be acknowledged.
func (r *reports) opened(f *Flow, u urgency, much int) bool {
	if f.lasting.urgency.Load() < u {
		r.list(f, u)
	}
	if much == 0 {
		return false
	}
	now := r.much.Add(int64(much))
	return now >= ackMost && now-int64(much) < ackMost
}

func (r *reports) list(f *Flow, u urgency) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.lasting.urgency.Swap(u) == urgencyNone {
		r.unsaid = append(r.unsaid, f)
	}
	switch u {
	case urgencyMuch:
		r.large = append(r.large, f)
		r.dueLocked(ackPause)
	case urgencyDelay:
		r.dueLocked(ackDelay)
	case urgencyAsked:
		r.dueLocked(ackAsked)
	}
}

// dueLocked has the reports told in wait, or sooner.
func (r *reports) dueLocked(wait time.Duration) {
	now := time.Now()
	at := now.Add(wait)
	if r.due.IsZero() || at.Before(r.due) {
		r.due = at
		r.timer.Reset(at.Sub(now))
	}
}

// lostLink is a link that a flow has lost: the one that an attempt to resume it has brought, or, if
// that is 0, its first. What is told of it may come when the flow has another one.
type lostLink struct {
	flow    flowID
	attempt uint32
}

// lose reports that a flow has lost its link.
func (r *reports) lose(l lostLink) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = append(r.lost, l)
	r.dueLocked(0)
}

// unknown is part for a flow that the other end speaks of. It fails if that speaks of too many.
func (r *reports) unknown(id flowID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.gone) >= maxUnknown {
		return fmt.Errorf("%w: %d flows that are not here", ErrProtocol, len(r.gone))
	}
	r.gone = append(r.gone, id)
	r.dueLocked(0)
	return nil
}

// ask has the responder asked whether a flow has come.
func (r *reports) ask(id flowID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, id)
	r.dueLocked(0)
}

// takeAsked returns what is to be asked now.
func (r *reports) takeAsked() (asked []flowID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked, r.asked = r.asked, nil
	return asked
}

// within has the session look after its flows in wait, or sooner.
func (r *reports) within(wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dueLocked(wait)
}

// part reports that a flow is not here any more.
func (r *reports) part(id flowID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = append(r.gone, id)
	r.dueLocked(0)
}

// forget has nothing reported of f: it goes on in another session, where all has been said.
func (r *reports) forget(f *Flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	isF := func(u *Flow) bool { return u == f }
	r.unsaid = slices.DeleteFunc(r.unsaid, isF)
	r.large = slices.DeleteFunc(r.large, isF)
	f.lasting.urgency.Store(urgencyNone)
}

// take returns what is to be told now.
func (r *reports) take() (unsaid []*Flow, lost []lostLink, gone []flowID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	unsaid, lost, gone = r.unsaid, r.lost, r.gone
	r.unsaid, r.large, r.lost, r.gone = nil, r.large[:0], nil, nil
	unsaid = slices.DeleteFunc(unsaid, func(f *Flow) bool {
		return f.lasting.urgency.Swap(urgencyNone) == urgencySaid
	})
	r.much.Store(0)
	r.due = time.Time{}
	return unsaid, lost, gone
}

// takeLarge appends those that have much to flows, which are being acknowledged.
func (r *reports) takeLarge(flows []*Flow) []*Flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.large {
		f.lasting.urgency.Store(urgencySaid)
	}
	flows = append(flows, r.large...)
	clear(r.large)
	r.large = r.large[:0]
	r.much.Store(0)
	return flows
}

// report tells what there is to be told.
func (s *Session) report() error {
	unsaid, lost, gone := s.reports.take()
	if err := s.acknowledge(unsaid); err != nil {
		return err
	}
	for _, l := range lost {
		b := binary.BigEndian.AppendUint32(appendFlowID(nil, l.flow), l.attempt)
		if err := s.control.write(typeLost, b); err != nil {
			return err
		}
	}
	for _, id := range gone {
		if err := s.control.write(typeGone, appendFlowID(nil, id)); err != nil {
			return err
		}
	}
	s.lingering.said(gone, s.heartbeat.pings())
	for all := s.reports.takeAsked(); len(all) > 0; {
		t := tally{session: all[0].session, highest: tallyOpen}
		all = slices.DeleteFunc(all, func(id flowID) bool {
			if id.session != t.session || len(t.missing) >= askedMost {
				return false
			}
			t.missing = append(t.missing, id.number)
			return true
		})
		if err := s.control.write(typeAcknowledge, t.append(nil)); err != nil {
			return err
		}
	}
	return nil
}

// acknowledge tells how much flows have opened. The slice is used up.
func (s *Session) acknowledge(flows []*Flow) error {
	r := &s.reports.telling
	r.Lock()
	defer r.Unlock()
	for len(flows) > 0 {
		flows = s.reports.appendAcks(flows)
		if err := s.control.write(typeAcknowledge, r.record); err != nil {
			return err
		}
	}
	return nil
}

// acknowledgeMuch tells how much those flows have opened that have opened much. Whoever reads calls
// it, so that nobody else has to be woken for it; if it would have to wait, keepTime is woken.
func (s *Session) acknowledgeMuch() {
	r := &s.reports.telling
	if r.TryLock() {
		defer r.Unlock()
		if s.control.tryTurn() {
			defer s.control.done()
			r.flows = s.reports.takeLarge(r.flows[:0])
			left, err := r.flows, error(nil)
			for err == nil && len(left) > 0 {
				left = s.reports.appendAcks(left)
				err = s.control.writeLocked(typeAcknowledge, r.record, controlTimeout)
			}
			clear(r.flows)
			if err == nil {
				return
			}
		}
	}
	s.reports.within(0)
}

// appendAcks makes the acknowledgement of the first flow, and others that were opened with the same
// keys. It returns the rest.
func (r *reports) appendAcks(flows []*Flow) (rest []*Flow) {
	session := flows[0].lasting.id.session
	b := append(r.telling.record[:0], session[:]...)
	rest = flows[:0]
	for _, f := range flows {
		if f.lasting.id.session != session || len(b) >= len(session)+maxAcks*ackSize {
			rest = append(rest, f)
			continue
		}
		b = binary.BigEndian.AppendUint64(b, f.lasting.id.number)
		b = binary.BigEndian.AppendUint64(b, f.lasting.say())
	}
	r.telling.record = b
	return rest
}

func appendFlowID(b []byte, id flowID) []byte {
	return binary.BigEndian.AppendUint64(append(b, id.session[:]...), id.number)
}

func parseFlowID(b []byte) (id flowID) {
	copy(id.session[:], b)
	id.number = binary.BigEndian.Uint64(b[len(id.session):])
	return id
}

// flowOf returns the flow of this session's that a report of the other end is about, or nil: it may
// be over.
func (s *Session) flowOf(id flowID) *Flow {
	if f := s.endpoint.flows.get(id); f != nil && f.Session() == s {
		return f
	}
	return nil
}

// flowWith is flowOf for what is said of a flow for good. It may come in the session that the flow
// is about to go on in, while it is in the one before here.
func (s *Session) flowWith(id flowID) *Flow {
	if f := s.endpoint.flows.get(id); f != nil && (f.Session() == s || s.isLike(f.Session())) {
		return f
	}
	return nil
}

// acknowledged reads an acknowledgement.
func (s *Session) acknowledged(data []byte) error {
	n := len(data) - len(sessionID{})
	if n < ackSize || n%ackSize != 0 || n > maxAcks*ackSize {
		return fmt.Errorf("%w: acknowledgement of %d bytes", ErrProtocol, len(data))
	}
	if t, ok := parseTally(data); ok {
		s.heardTally(t)
		return nil
	}
	for b := data[len(sessionID{}):]; len(b) > 0; b = b[ackSize:] {
		var id flowID
		copy(id.session[:], data)
		id.number = binary.BigEndian.Uint64(b)
		f := s.flowOf(id)
		if f == nil {
			continue
		}
		f.prove()
		if err := f.lasting.kept.acknowledge(binary.BigEndian.Uint64(b[8:])); err != nil {
			return err
		}
		if f.is(flowClosed) && f.lasting.kept.isDone() {
			s.reports.part(id) // it knows all that there is to know, and need not look for a link
		}
		f.tidy()
	}
	s.tellIfLeaving()
	return nil
}

// heardOfLost is told by the responder that a flow has lost its link there. The initiator makes
// another one, unless that has been tried since, or says that there is no such flow.
func (s *Session) heardOfLost(data []byte) error {
	if s.role != identity.Initiator {
		return fmt.Errorf("%w: lost, from an initiator", ErrProtocol)
	}
	id, attempt := parseFlowID(data), binary.BigEndian.Uint32(data[flowIDSize:])
	f := s.flowWith(id)
	switch {
	case f == nil || !f.lasts() || f.lasting.hasParted():
		return s.reports.unknown(id)
	case f.lasting.loses(attempt) && f.Session() == s: // else it fails before it is there
		f.linkLost()
	}
	return nil
}

// heardOfGone is told that the other end does not have a flow any more.
func (s *Session) heardOfGone(id flowID) {
	if f := s.flowWith(id); f != nil {
		f.lasting.finish()
		if f.isAbsent() || f.hasHeardEnd() { // or what was said before is still to come
			f.fail(f.gone())
		}
		f.tidy()
	}
}

// gone says what it means that the other end does not have the flow any more. One that has ended
// its direction and then gave up the other one has been reset there, which is nobody's fault.
func (f *Flow) gone() error {
	if f.hasHeardEnd() {
		return ErrReset
	}
	return ErrGone
}

package channel

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
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
	// ackBytes is how many bytes are acknowledged soon, and ackDelay how long fewer wait. An
	// acknowledgement costs about as much as 128 KiB of data, so a busy flow sends none within
	// ackPause of another, unless that would be ackMost bytes.
	ackBytes = 256 << 10
	ackMost  = 16 << 20
	ackDelay = 200 * time.Millisecond
	ackPause = 50 * time.Millisecond
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
	urgencyNone  urgency = iota // nothing has been opened
	urgencySome                 // with the next report, for it says nothing
	urgencyDelay                // within ackDelay
	urgencySoon                 // ackPause after the last one
	urgencyNow
)

// reports is what a session has to tell of its flows, as one of its chores.
type reports struct {
	timer *time.Timer // when that is due

	mu     sync.Mutex
	due    time.Time // zero: never
	last   time.Time
	unsaid []*Flow // have opened something that the other end does not know
	lost   []lostLink
	gone   []flowID
}

func newReports(timer *time.Timer) *reports { return &reports{timer: timer} }

// opened takes note that f has opened a record. Nearly always that is known already.
func (r *reports) opened(f *Flow, u urgency) {
	if f.lasting.urgency.Load() < u {
		r.list(f, u)
	}
}

func (r *reports) list(f *Flow, u urgency) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.lasting.urgency.Swap(u) == urgencyNone {
		r.unsaid = append(r.unsaid, f)
	}
	switch u {
	case urgencyNow:
		r.dueLocked(0)
	case urgencySoon:
		r.dueLocked(time.Until(r.last.Add(ackPause)))
	case urgencyDelay:
		r.dueLocked(ackDelay)
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
	r.unsaid = slices.DeleteFunc(r.unsaid, func(u *Flow) bool { return u == f })
	f.lasting.urgency.Store(urgencyNone)
}

// take returns what is to be told now.
func (r *reports) take() (unsaid []*Flow, lost []lostLink, gone []flowID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	unsaid, lost, gone = r.unsaid, r.lost, r.gone
	r.unsaid, r.lost, r.gone = nil, nil, nil
	for _, f := range unsaid {
		f.lasting.urgency.Store(urgencyNone)
	}
	r.due, r.last = time.Time{}, time.Now()
	return unsaid, lost, gone
}

// report tells what there is to be told.
func (s *Session) report() error {
	unsaid, lost, gone := s.reports.take()
	acks := make(map[sessionID][]byte)
	for _, f := range unsaid {
		id := f.lasting.id
		b := acks[id.session]
		if b == nil {
			b = append(b, id.session[:]...)
		}
		b = binary.BigEndian.AppendUint64(b, id.number)
		acks[id.session] = binary.BigEndian.AppendUint64(b, f.lasting.say())
		if len(acks[id.session]) == len(sessionID{})+maxAcks*ackSize {
			if err := s.control.write(typeAcknowledge, acks[id.session]); err != nil {
				return err
			}
			delete(acks, id.session)
		}
	}
	for _, b := range acks {
		if err := s.control.write(typeAcknowledge, b); err != nil {
			return err
		}
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
	return nil
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

// acknowledged reads an acknowledgement.
func (s *Session) acknowledged(data []byte) error {
	n := len(data) - len(sessionID{})
	if n < ackSize || n%ackSize != 0 || n > maxAcks*ackSize {
		return fmt.Errorf("%w: acknowledgement of %d bytes", ErrProtocol, len(data))
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
	f := s.endpoint.flows.get(id)
	switch {
	case f == nil || !f.lasts() || f.lasting.hasParted():
		return s.reports.unknown(id)
	case f.Session() == s && f.lasting.loses(attempt):
		f.linkLost()
	}
	return nil
}

// heardOfGone is told that the other end does not have a flow any more.
func (s *Session) heardOfGone(id flowID) {
	if f := s.flowOf(id); f != nil {
		f.lasting.finish()
		if f.isAbsent() || f.hasHeardEnd() { // or what was said before is still to come
			f.fail(ErrGone)
		}
		f.tidy()
	}
}

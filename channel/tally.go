package channel

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"

	"github.com/secureportal/sp/identity"
)

// A flow may be on its way to its responder on a link that somebody else accepts, or nobody: who
// listens at the same socket, or has taken over the name, does not know the session. The initiator
// cannot tell such a flow from others, of which the service has got what was said, and whoever says
// so on the way may lie. So the responder says on the control link which flows have not come. That
// is for good: it accepts none of them any more, and what was said in them may be said in other
// ones. The initiator asks about flows that have no link, and a responder that shuts down says it
// of all.
//
//	tally = session (16) | 0 (8) | highest that has come (8) | (lower that has not (8) | 0 (8)) × n
//
// That is an acknowledgement of a flow that there is not, and of nothing in others: who does not
// know it passes over it. A question is the same, with the flows in question. In an answer nothing
// is higher than the highest.

const (
	// tallyOpen is the highest flow in a question and in an answer.
	tallyOpen = math.MaxUint64
	// askedMost is how many flows of one question are answered.
	askedMost = 256
)

// tally is what a side says.
type tally struct {
	session sessionID
	highest uint64
	missing []uint64 // in order, when it has been read
}

func (t tally) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(appendFlowID(b, flowID{session: t.session}), t.highest)
	for _, number := range t.missing {
		b = binary.BigEndian.AppendUint64(b, number)
		b = binary.BigEndian.AppendUint64(b, 0)
	}
	return b
}

// parseTally reads an acknowledgement, whose size has been checked, if it is a tally.
func parseTally(data []byte) (t tally, ok bool) {
	first := parseFlowID(data)
	if first.number != 0 {
		return t, false
	}
	t.session = first.session
	t.highest = binary.BigEndian.Uint64(data[flowIDSize:])
	for b := data[flowIDSize+8:]; len(b) > 0; b = b[ackSize:] {
		if binary.BigEndian.Uint64(b[8:]) == 0 {
			t.missing = append(t.missing, binary.BigEndian.Uint64(b))
		}
	}
	slices.Sort(t.missing)
	return t, true
}

// excludes tells whether the tally says that a flow has not come.
func (t *tally) excludes(id flowID) bool {
	if id.session != t.session {
		return false
	}
	_, missing := slices.BinarySearch(t.missing, id.number)
	return missing || id.number > t.highest
}

// tallies are those of all flows that an initiator has been told, one for each epoch. It is safe
// for concurrent use.
type tallies struct {
	mu  sync.Mutex
	all []tally
}

// add takes note of a tally, unless there are too many, or it is the answer to a question.
func (t *tallies) add(one tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.highest != tallyOpen && len(t.all) <= maxOldEpochs {
		t.all = append(t.all, one)
	}
}

func (t *tallies) exclude(id flowID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.all, func(one tally) bool { return one.excludes(id) })
}

// CloseFlows has all sessions in which this side is the responder take in no flows any more. The
// far ends are told which ones have come; late ones are served, and are to be refused: see
// Flow.Late.
func (e *Endpoint) CloseFlows() {
	toTell := func(s *Session) bool { return s.role == identity.Responder && s.survive > 0 }
	e.eachOf(toTell, func(s *Session) {
		for _, t := range s.keys.close() {
			s.control.say(typeAcknowledge, t.append(nil))
		}
	})
}

// close has all epochs take in no flows any more, and returns what is to be said of them that has
// not been.
func (k *keys) close() (all []tally) {
	k.mu.Lock()
	epochs := []*epoch{k.current}
	for _, e := range k.old {
		epochs = append(epochs, e.epoch)
	}
	if k.err != nil {
		epochs = k.over
	}
	k.mu.Unlock()
	for _, e := range epochs {
		if t, ok := e.close(); ok {
			all = append(all, t)
		}
	}
	return all
}

// close has the epoch take in no flows any more but late ones. It reports false if that has been
// done.
func (e *epoch) close() (t tally, ok bool) {
	n := e.used
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told {
		return t, false
	}
	n.told = true
	t.session = e.id
	t.highest, t.missing = n.spent.Unused(maxAcks - 1)
	return t, true
}

// Late tells whether the far end has been told that the flow has not come. Whoever serves it must
// not do what is asked for in it.
func (f *Flow) Late() bool { return f.late }

// heardTally is told a tally, or asked for one.
func (s *Session) heardTally(t tally) {
	if s.role == identity.Responder {
		s.answer(t)
		return
	}
	s.tallies.add(t) // first: who opens a flow looks there when that can be found
	for _, f := range s.endpoint.flows.of(s) {
		if t.excludes(f.lasting.id) && f.lasting.isFresh() {
			f.fail(ErrNeverSeen)
			s.unsuspend(f, false)
		}
	}
}

// answer tells the initiator which of the flows that it asks about have not come, and never will.
// It is told how far the others are.
func (s *Session) answer(asked tally) {
	e := s.endpoint
	e.mu.RLock()
	a, ok := e.epochs[asked.session]
	e.mu.RUnlock()
	if !ok || a.session != s {
		return
	}
	missing := tally{session: asked.session, highest: tallyOpen}
	for _, number := range asked.missing[:min(len(asked.missing), askedMost)] {
		f := s.flowOf(flowID{asked.session, number})
		switch {
		case f != nil && f.lasting.position() > 0:
			s.reports.opened(f, urgencyAsked, 0)
		case f == nil && number != 0 && a.epoch.used.neverSeen(number):
			missing.missing = append(missing.missing, number)
		}
	}
	if len(missing.missing) > 0 {
		s.control.say(typeAcknowledge, missing.append(nil))
	}
}

package channel

import (
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/replay"
)

// A flow may be lost with its link before anything of it has come to the responder. The initiator
// cannot know that: it asks to resume the flow. The responder, who remembers which numbers it has
// accepted, says that this one is not among them, and accepts it from then on no more: so all that
// was said in the flow may be said in another one.

// numbers are those of an epoch's flows at the responder: accepted, or never to be. It is safe for
// concurrent use.
type numbers struct {
	spent *replay.Filter

	mu     sync.Mutex
	unseen []uint64 // of those, which have never come; the first was said first
	told   bool     // the initiator has been told which have come: see tally
}

// unseenMost is how many of those are remembered.
const unseenMost = 1024

func newNumbers() *numbers { return &numbers{spent: replay.NewFilter(flowsRemembered)} }

// use accepts a flow's number. It reports false if it never may be, or has been. A flow that is
// late is one that the initiator has been told has not come: nothing of it is to be delivered.
func (n *numbers) use(number uint64) (ok, late bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.spent.Use(number), n.told
}

// neverSeen tells whether a flow has never come, and has it never come from then on. Who asks again
// has not got the answer: his link may have been lost with it.
func (n *numbers) neverSeen(number uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Contains(n.unseen, number) {
		return true
	}
	if !n.spent.Use(number) {
		return false
	}
	if len(n.unseen) >= unseenMost {
		n.unseen = slices.Delete(n.unseen, 0, unseenMost/2)
	}
	n.unseen = append(n.unseen, number)
	return true
}

// pastMost is how many epochs are remembered whose secrets have been forgotten.
const pastMost = 1024

// pastEpoch is what is remembered of one.
type pastEpoch struct {
	id     sessionID
	used   *numbers
	resume resumeKey
	peer   identity.Identifier
	name   string
	until  time.Time
}

// past is an endpoint's epochs that it has accepted flows of, and accepts no more. They are
// remembered for as long as those flows may be resumed. It is safe for concurrent use.
type past struct {
	mu     sync.Mutex
	epochs []pastEpoch // the oldest first
}

// add remembers an epoch of s, which is over.
func (p *past) add(s *Session, e *epoch) {
	if s.survive == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now, n := time.Now(), 0
	for n < len(p.epochs) && now.After(p.epochs[n].until) {
		n++
	}
	p.epochs = p.epochs[n:]
	if len(p.epochs) >= pastMost {
		p.forgetOneLocked()
	}
	p.epochs = append(p.epochs, pastEpoch{
		e.id, e.used, e.resume, s.id, s.Name(), s.timeLeft(),
	})
}

// forgetOneLocked forgets the oldest epoch of the far end that has most: whoever makes one session
// after the other does it at his own expense.
func (p *past) forgetOneLocked() {
	count := make(map[identity.Identifier]int)
	most := 0
	for _, e := range p.epochs {
		count[e.peer]++
		most = max(most, count[e.peer])
	}
	n := slices.IndexFunc(p.epochs, func(e pastEpoch) bool { return count[e.peer] == most })
	p.epochs = slices.Delete(p.epochs, n, n+1)
}

func (p *past) get(id sessionID) (pastEpoch, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.epochs {
		if e.id == id {
			return e, true
		}
	}
	return pastEpoch{}, false
}

// epochOf returns what is known of an epoch, current or past.
func (e *Endpoint) epochOf(id sessionID) (pastEpoch, bool) {
	e.mu.RLock()
	a, ok := e.epochs[id]
	e.mu.RUnlock()
	if ok {
		s := a.session
		return pastEpoch{
			id: id, used: a.epoch.used, resume: a.epoch.resume, peer: s.id, name: s.Name(),
		}, true
	}
	return e.past.get(id)
}

// neverSeen tells whether the flow that a request in s asks to resume has never come here. If so it
// never will.
func (e *Endpoint) neverSeen(s *Session, request []byte, on flowID) bool {
	id := parseFlowID(request)
	epoch, ok := e.epochOf(id.session)
	if !ok || id.number == 0 || epoch.peer != s.id || epoch.name != s.Name() {
		return false
	}
	keys := lastingKeys{id, epoch.resume}
	_, err := keys.readStand(request[flowIDSize:], identity.Initiator, on)
	return err == nil && epoch.used.neverSeen(id.number)
}

package channel

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A flow may outlive its link. What its sender has sealed is kept until the other end says that it
// has opened it; when the link is lost the flow is suspended, and whoever uses it waits. The
// initiator makes another link, of the same session or of a new one with the same far end, the two
// prove that they are the flow's two ends, say how many records each of them has opened, and what
// is missing is sent again as it was.
//
//	on a link ── the link is lost ──▶ suspended ── resumed ──▶ on another link
//	    │                                 │
//	    │ too much is kept                │ time is over, trust has ended, the far end has it no more
//	    ▼                                 ▼
//	ends with its link                  reset
//
// A flow that has ended on this side lingers until the other end has opened its last record.

// flowID names a flow for as long as it lives, whatever session it is in by then: the keys that it
// was opened with, and its number under them.
type flowID struct {
	session sessionID
	number  uint64
}

// lasting is what a flow has that outlives its links.
type lasting struct {
	lastingKeys

	kept kept // what this side has sent

	// opening is held while a record is opened, and guards what has been: once another link is to
	// take the carrier's place nothing more of the carrier is opened.
	opening struct {
		sync.Mutex
		position uint64 // records
		unsaid   int    // bytes since the other end was told
		held     atomic.Pointer[held]
	}
	stays   atomic.Bool   // the other end cannot go on elsewhere
	urgency atomic.Uint32 // of acknowledging that; the session's reports'

	mu      sync.Mutex // taken after the flow's life
	attempt uint32     // how often it has been tried to resume the flow; the highest counts
	lost    uint32     // the newest attempt whose link the responder has lost
	last    *link      // on which what is left of a flow is delivered that has ended here
	on      *link      // that the flow has come to, and left is closed when it leaves that
	left    chan struct{}
	hook    func()    // see Flow.OnEnd
	over    bool      // it is not resumed any more
	parted  bool      // it has ended here without a record that says so, and the other end is told
	resumed time.Time // when it was, last
	often   int       // how often, each time soon after the last
}

// errGivenUp says that a flow cannot go on elsewhere: what it takes is not kept any more.
var errGivenUp = errors.New("its link was lost, and what it takes to go on with another one was " +
	"given up for want of memory")

// lastingKeys is what a flow's keys say for one that outlives its links.
type lastingKeys struct {
	id  flowID
	key resumeKey
}

// outlive makes f, which nobody else has yet, a flow that outlives its links, if both sides want
// that.
func (s *Session) outlive(f *Flow, k lastingKeys) {
	if s.survive > 0 {
		f.lasting = &lasting{lastingKeys: k}
		s.endpoint.flows.add(f)
	}
}

// openedLocked takes note of a record that has been opened. It reports whether that is to be
// acknowledged now.
func (l *lasting) openedLocked(f *Flow, t recordType, size int) (much bool) {
	o := &l.opening
	o.position++
	before := o.unsaid
	o.unsaid += size
	u, count := urgencyDelay, 0
	switch {
	case before >= ackBytes && size > 0:
		u, count = urgencyMuch, size
	case o.unsaid >= ackBytes && size > 0:
		u, count = urgencyMuch, o.unsaid
	case t == typeData && size == 0 && o.unsaid > 0:
		u = urgencyAsked // who has sent it waits to send more
	case t == typeData && size == 0:
		u = urgencySome
	}
	return f.Session().reports.opened(f, u, count)
}

// openedFirst takes note of the first record, which was opened before it was known what f is.
func (l *lasting) openedFirst(f *Flow) {
	if l == nil {
		return
	}
	l.opening.Lock()
	defer l.opening.Unlock()
	l.openedLocked(f, typeData, 1)
}

// position returns how many records have been opened.
func (l *lasting) position() uint64 {
	l.opening.Lock()
	defer l.opening.Unlock()
	return l.opening.position
}

// held is that no record is opened: see hold.
type held struct {
	over    chan struct{} // closed by its release
	hurried signal        // told when who waits for that is to look at his deadline again
}

// hold has no record opened until release is called, once: what this side says meanwhile of where
// it stands is so. It reports false if somebody else does that.
func (l *lasting) hold() (release func(), ok bool) {
	l.opening.Lock()
	defer l.opening.Unlock()
	h := &held{over: make(chan struct{}), hurried: newSignal()}
	if !l.opening.held.CompareAndSwap(nil, h) {
		return nil, false
	}
	return func() {
		l.opening.Lock()
		defer l.opening.Unlock()
		l.opening.held.Store(nil)
		close(h.over)
	}, true
}

// heldBack returns what keeps records from being opened, or nil if nothing does.
func (l *lasting) heldBack() *held {
	if l == nil {
		return nil
	}
	return l.opening.held.Load()
}

// say returns the position, to be told to the other end.
func (l *lasting) say() uint64 {
	l.opening.Lock()
	defer l.opening.Unlock()
	l.opening.unsaid = 0
	return l.opening.position
}

// lasts tells whether the flow's being resumed is worth anything: it is open, or the other end may
// not have all of it.
func (f *Flow) lasts() bool {
	return f.lasting != nil && !f.lasting.isOver() &&
		(f.isOpen() || !f.lasting.kept.isDone() || f.lasting.hasParted())
}

// isFresh tells whether the other end has not been heard of in the flow.
func (l *lasting) isFresh() bool { return l.position() == 0 && l.kept.isUnheard() }

func (l *lasting) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// finish has the flow not resumed any more.
func (l *lasting) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
}

// setHook is Flow.OnEnd.
func (l *lasting) setHook(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = do
}

func (l *lasting) takeHook() func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	do := l.hook
	l.hook = nil
	return do
}

// nextAttempt numbers an attempt to resume the flow. It is the initiator's.
func (l *lasting) nextAttempt() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempt++
	return l.attempt
}

// take takes note of an attempt of the initiator's, which stands where st says. It fails with
// errOvertaken if there has been a later one, or more has been acknowledged since, and with
// errNotKept if what the initiator lacks is not there any more.
func (l *lasting) take(st stand) error {
	err := l.kept.has(st.position)
	if errors.Is(err, errOvertaken) {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || st.attempt <= l.attempt {
		return errOvertaken
	}
	l.attempt = st.attempt
	return err
}

// deliverOn takes note of the link on which an attempt delivers what is left. It reports false if
// there has been a later one, or the flow has parted: nothing is left then.
func (l *lasting) deliverOn(on *link, attempt uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.parted || l.attempt != attempt {
		return false
	}
	l.last = on
	return true
}

// leaves returns a channel that is closed when the flow, which is about to come to a link, leaves
// that.
func (l *lasting) leaves(on *link) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left != nil {
		close(l.left) // of an attempt that has been overtaken
	}
	l.on, l.left = on, make(chan struct{})
	return l.left
}

// leave takes note that the flow leaves a link.
func (l *lasting) leave(from *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on == from && l.left != nil {
		close(l.left)
		l.on, l.left = nil, nil
	}
}

// takeLast returns the link on which what is left is being delivered, for another attempt to close
// it.
func (l *lasting) takeLast() *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.last
	l.last = nil
	return last
}

// noteResumed takes note that the flow goes on.
func (l *lasting) noteResumed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.resumed) < resumeRetryMax {
		l.often = min(l.often+1, resumeRetryMost)
	} else {
		l.often = 0
	}
	l.resumed = now
}

// goneOn returns when the flow has gone on the last time, if it has.
func (l *lasting) goneOn() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resumed
}

// triedOften returns how often the flow has lost its link as soon as it had gone on, but for a few.
func (l *lasting) triedOften() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.resumed) >= resumeRetryMax {
		return 0
	}
	return max(l.often-resumeFree, 0)
}

// isAttempt tells whether n is the newest attempt, and its link is not known to be lost.
func (l *lasting) isAttempt(n uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.over && l.attempt == n && l.lost < n
}

// isNewest tells whether there has been no attempt since n.
func (l *lasting) isNewest(n uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.attempt == n
}

// loses takes note that the responder has lost an attempt's link. It reports whether there is no
// newer one. If the attempt is under way it fails.
func (l *lasting) loses(attempt uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = max(l.lost, attempt)
	return l.attempt == attempt
}

// tidy takes the flow out of the endpoint's table when nothing of it is left to do.
func (f *Flow) tidy() {
	if f.lasting != nil && !f.lasts() {
		f.lasting.kept.giveUp()
		f.Session().endpoint.flows.remove(f)
	}
}

// timeLeft returns until when a flow that is suspended now waits.
func (s *Session) timeLeft() time.Time { return time.Now().Add(s.survive) }

package channel

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/netio"
)

// linkPool is all links of a session but the control link. Its lock is taken before prewarm's.
type linkPool struct {
	role      identity.Role
	goingAway *event       // after it no idle link is kept
	prewarm   *prewarm     // is told of the demand for links; initiator only
	quiets    *quietLinks  // is told of links that may carry nothing
	activity  Activity     // flows that somebody would miss
	freed     signal       // tells run that less goes on here; see freedLocked
	resting   atomic.Int32 // responder: links that wait for their next flow

	elsewhere atomic.Pointer[elsewhere] // by which links are made; nil: by the session's own way

	mu    sync.Mutex
	err   error              // why the session has ended, and no link comes in
	links map[*link]struct{} // nil once all are closed
	idle  []*link            // those without a flow, initiator only; the most recently used last
	opens int                // calls of Open under way

	background int // flows that nobody would miss soon
	// lost is for how long a link had carried nothing when it ended, since the last look.
	lost time.Duration
}

func newLinkPool(role identity.Role, goingAway *event, w *prewarm, q *quietLinks) linkPool {
	return linkPool{
		role: role, goingAway: goingAway, prewarm: w, quiets: q,
		freed: newSignal(), links: make(map[*link]struct{}),
	}
}

// opening counts calls of Open.
func (p *linkPool) opening(more int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opens += more
	p.freedLocked()
}

// freedLocked tells run that a link has lost its flow, or that an Open has ended. Only a session
// that is going away or drains wants to know: run would wake up for each flow of any other.
func (p *linkPool) freedLocked() {
	if p.err != nil || p.goingAway.happened() {
		p.freed.tell()
	}
}

// add takes l in, for a flow of the initiator's. An empty flow leaves l resting: whoever ends the
// session loses nothing with it.
func (p *linkPool) add(l *link, empty bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return sessionEnded(p.err)
	}
	l.pool, l.dialed, l.parks = p, true, true
	p.links[l] = struct{}{}
	l.resting.Store(empty)
	if !empty {
		p.countLocked(l)
	}
	p.quiets.begin()
	return nil
}

// adopt takes l in, for a flow that the responder has had a hello of. Until the flow's first record
// proves it, whoever has seen the session's number may have sent that, and nothing depends on it.
func (p *linkPool) adopt(l *link) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return ErrUnknownSession
	}
	l.pool = p
	l.resting.Store(true)
	l.unauthenticated.Store(true)
	p.links[l] = struct{}{}
	p.countLocked(l)
	return nil
}

// countLocked counts a flow on l that somebody would miss.
func (p *linkPool) countLocked(l *link) {
	l.counted = true
	p.activity.Begin()
}

// uncountLocked takes note that there is no flow on l any more.
func (p *linkPool) uncountLocked(l *link) {
	if l.counted {
		p.activity.End()
	}
	if l.background {
		p.background--
	}
	l.counted, l.background = false, false
}

// uncount is uncountLocked.
func (p *linkPool) uncount(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uncountLocked(l)
}

// toBackground takes note that nobody would miss the flow on l soon.
func (p *linkPool) toBackground(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.links[l]; ok && l.counted {
		p.uncountLocked(l)
		p.background++
		l.background = true
	}
}

// isBackground tells whether there are flows, and only such that nobody would miss soon.
func (p *linkPool) isBackground() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.background > 0 && p.activity.none()
}

// forget takes l out.
func (p *linkPool) forget(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
	p.uncountLocked(l)
	p.freedLocked()
}

// take returns the most recently used idle link that is still open, or nil.
func (p *linkPool) take() (*link, error) {
	for lost := false; ; lost = true {
		l, err := p.takeLast(lost)
		if l == nil || err != nil {
			return nil, err
		}
		if l.Quiet() {
			return l, nil
		}
		_ = l.Close()
	}
}

// takeLast returns the most recently used idle link, or nil. lost tells that the one before was of
// no use.
func (p *linkPool) takeLast(lost bool) (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, sessionEnded(p.err)
	}
	if lost {
		p.prewarm.fail() // something ends idle links: more of them would not help
	}
	p.prewarm.use()
	if p.elsewhere.Load() != nil {
		return nil, nil // a link by that way waits for nothing; those that are here wait for its end
	}
	defer p.lookLocked()
	if len(p.idle) == 0 {
		if !lost && len(p.links) > 0 { // the first flow never finds one
			p.prewarm.short()
		}
		return nil, nil
	}
	last := len(p.idle) - 1
	l := p.idle[last]
	p.idle = p.idle[:last]
	return l, nil
}

// park keeps l for the next flow, unless there is more on it than the flow before.
func (p *linkPool) park(l *link) {
	clean := l.in.empty()
	l.in.drop()
	p.mu.Lock()
	l.since = p.quiets.at(time.Now())
	p.uncountLocked(l)
	keep := clean && p.err == nil && len(p.idle) < linkIdleMax && l.by == nil
	if keep {
		p.idle = append(p.idle, l)
	} else {
		delete(p.links, l)
	}
	p.freedLocked()
	p.mu.Unlock()
	if !keep {
		_ = l.Conn.Close()
	}
}

// tidy lets go of links that have been idle for too long, and resets those that are stuck. It also
// has prewarm forget an old demand. The responder has nothing to do: whoever has accepted a link
// watches it.
func (p *linkPool) tidy(now time.Time) {
	if p.role != identity.Initiator {
		return
	}
	p.mu.Lock()
	p.prewarm.shrink(now, len(p.links) > len(p.idle))
	stale := p.takeStaleLocked(now)
	dialed := slices.Collect(maps.Keys(p.links))
	p.mu.Unlock()
	for _, l := range stale {
		_ = l.Conn.Close()
	}
	for _, l := range dialed {
		if times, _ := netio.Stuck(l.Conn); times >= MaxMissedPongs {
			_ = netio.Reset(l.Conn)
		}
	}
}

// takeStaleLocked takes out the links that have been idle for too long, but for some.
func (p *linkPool) takeStaleLocked(now time.Time) []*link {
	kept := max(linkIdleKept, p.prewarm.wanted())
	if p.goingAway.happened() {
		kept = 0
	}
	n := 0
	for n < len(p.idle)-kept && p.quiets.at(now)-p.idle[n].since > linkIdleTimeout {
		delete(p.links, p.idle[n])
		n++
	}
	stale := slices.Clone(p.idle[:n])
	p.idle = append(p.idle[:0], p.idle[n:]...)
	return stale
}

// missing returns how many links prewarm should make now, and has it count them as being made.
func (p *linkPool) missing() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.prewarmsLocked() {
		return 0
	}
	return p.prewarm.plan(len(p.idle))
}

// look tells prewarm if links are missing.
func (p *linkPool) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lookLocked()
}

func (p *linkPool) lookLocked() {
	if p.prewarmsLocked() {
		p.prewarm.look(len(p.idle))
	}
}

// prewarmsLocked tells whether links are made before they are needed: those of another way than the
// session's own are no better for it.
func (p *linkPool) prewarmsLocked() bool {
	return p.err == nil && !p.goingAway.happened() && p.elsewhere.Load() == nil
}

package channel

import (
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// A session that ends in good order has flows behind it whose last bytes are still on their way, on
// links of their own. So the side that goes away closes links without a flow gently, which lets
// what was written on them arrive. The other side, told that it is going away, drains: it leaves
// its links to end by themselves. That takes as long as whoever gets those bytes does: they have
// been taken from an application that believes them delivered. A link whose other end is gone is
// TCP's to notice: nothing has to be sent on it any more, and keepalives are unanswered.

// drain waits for the links of a session that drains, and closes what is left of them.
func (s *Session) drain() {
	if !s.life.is(sessionDraining) {
		return
	}
	s.awaitLinks()
	hooks := s.takeHooks()
	s.pool.closeLinks()
	hooks.call()
	s.life.drained()
}

// cutsLinks tells whether the session has ended and does not drain: no flow stays on a link of it.
func (s *Session) cutsLinks() bool { return s.Err() != nil && !s.life.is(sessionDraining) }

// awaitLinks returns when no flow is on a link any more, when the far end is not trusted any more,
// or with Close. A link whose hello nothing has proved yet is waited for as long as that may take,
// and no longer.
func (s *Session) awaitLinks() {
	proof := time.NewTimer(s.config.handshakeTimeout())
	defer proof.Stop()
	for unauthenticated := true; ; {
		busy := s.pool.busy(unauthenticated)
		changed := s.config.Trust.Changed()
		until, err := s.trust.review()
		if err != nil || !busy {
			return
		}
		var expired <-chan time.Time
		if !until.IsZero() {
			expired = time.After(time.Until(until))
		}
		select {
		case <-changed:
			continue
		case <-s.pool.freed:
			continue
		case <-proof.C:
			unauthenticated = false
			continue
		case <-expired:
		case <-s.life.closed.await():
		}
		return
	}
}

// shut lets no link in any more. It tells whether a flow is on one, or may be.
func (p *linkPool) shut(reason error) (busy, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = reason
	return p.busyLocked(true), true
}

// shutUnused is shut, but objects if there is a flow, or somebody opens one.
func (p *linkPool) shutUnused(reason error) (busy, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opens > 0 || len(p.links) > len(p.idle) {
		return false, false
	}
	p.err = reason
	return false, true
}

// busy tells whether a flow is on one of the links. A link whose hello is not proved yet counts if
// unauthenticated is set.
func (p *linkPool) busy(unauthenticated bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busyLocked(unauthenticated)
}

func (p *linkPool) busyLocked(unauthenticated bool) bool {
	for l := range p.links {
		// In this order: who is proved between the two looks is seen by the second.
		if unauthenticated && l.unauthenticated.Load() || !l.resting.Load() {
			return true
		}
	}
	return false
}

// closeLinks closes all links: gently those without a flow.
func (p *linkPool) closeLinks() {
	p.mu.Lock()
	links := p.links
	p.links, p.idle = nil, nil
	p.mu.Unlock()
	for l := range links {
		if l.resting.Load() {
			_ = l.Conn.Close()
		} else {
			_ = netio.Reset(l.Conn)
		}
	}
}

package channel

import (
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// A session that a side ends in good order has flows behind it whose last bytes are still on their way, on links of
// their own. So the side that goes away closes links without a flow gently, which lets what was written on them arrive,
// and the other side, told that it is going away, leaves its links to end by themselves. That takes as long as whoever gets
// those bytes does: they have been taken from an application that believes them delivered. A link whose other end is gone
// is TCP's to notice: nothing has to be sent on it any more, and keepalives are unanswered.

// part ends all links: gently where no flow is on one. It returns what tells those who want to know that their flows are
// over.
func (s *Session) part() (ended func()) {
	var tell []func()
	s.mu.Lock()
	chains := s.chains
	s.chains, s.idle = nil, nil
	for c := range chains {
		if c.ended != nil {
			tell = append(tell, c.ended)
		}
	}
	s.mu.Unlock()
	for c := range chains {
		if c.resting.Load() {
			_ = c.conn.Close()
		} else {
			_ = netio.Reset(c.conn)
		}
	}
	return func() {
		for _, f := range tell {
			f()
		}
	}
}

// linger ends the links that a session has left to end by themselves.
func (s *Session) linger() {
	s.mu.Lock()
	lingers := s.lingers
	s.mu.Unlock()
	if !lingers {
		return
	}
	s.awaitLinks()
	s.part()()
}

// busy tells whether a flow is on one of the links, or may be if unproved is set. It is called with mu locked.
func (s *Session) busy(unproved bool) bool {
	for c := range s.chains {
		// In this order: whoever is proved between the two looks is seen by the second.
		if unproved && c.unproved.Load() || !c.resting.Load() {
			return true
		}
	}
	return false
}

// awaitLinks returns when no flow is on a link any more, when the far end is not trusted any more, or with Close. A link
// whose hello nothing has proved yet is waited for as long as that may take, and no longer.
func (s *Session) awaitLinks() {
	proof := time.NewTimer(s.config.handshakeTimeout())
	defer proof.Stop()
	for unproved := true; ; {
		s.mu.Lock()
		busy := s.busy(unproved)
		s.mu.Unlock()
		changed := s.config.Trust.Changed()
		until, err := s.review()
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
		case <-s.freed:
			continue
		case <-proof.C:
			unproved = false
			continue
		case <-expired:
		case <-s.closed:
		}
		return
	}
}

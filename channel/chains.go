package channel

import (
	"context"
	"fmt"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// Open starts a flow on a link that an earlier flow left clean, or on a new one. Nothing is sent before the flow's
// first write, which must come soon: the far end waits for it on a new link no longer than its HandshakeTimeout, and
// takes a flow's number no longer than epochGrace after the keys were replaced, nor after windowSize higher ones. ctx
// bounds dialing only, which also ends with the session. It is the initiator's.
func (s *Session) Open(ctx context.Context) (*Flow, error) {
	s.countOpens(1)
	defer s.endIfLeft()
	defer s.countOpens(-1)
	c, err := s.idleChain()
	if err != nil {
		return nil, err
	}
	if c == nil {
		if c, err = s.dialChain(ctx); err != nil {
			return nil, err
		}
	}
	f, err := s.openOn(c, false)
	if err != nil {
		_ = c.conn.Close()
		return nil, err
	}
	return f, nil
}

func (s *Session) countOpens(more int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens += more
}

// openOn numbers a new flow on c. One of nothing leaves c resting: who ends the session loses nothing with it.
func (s *Session) openOn(c *chain, nothing bool) (*Flow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, fmt.Errorf("session ended: %w", s.err)
	}
	s.epoch.flows++
	f := &Flow{session: s, chain: c}
	f.sending.cipher, f.receiving.cipher = s.epoch.keys(s.role, s.epoch.flows)
	f.sending.hello = appendFlowHello(nil, s.epoch.id, s.epoch.flows)
	s.chains[c] = struct{}{}
	c.resting.Store(nothing)
	return f, nil
}

func (s *Session) dialChain(ctx context.Context) (*chain, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := newChain(conn)
	c.idle = s.park
	return c, nil
}

// idleChain returns the most recently used idle link that is still open, or nil.
func (s *Session) idleChain() (*chain, error) {
	for lost := false; ; lost = true {
		s.mu.Lock()
		if s.err != nil {
			defer s.mu.Unlock()
			return nil, fmt.Errorf("session ended: %w", s.err)
		}
		if lost {
			s.ahead.fail() // something ends idle links: more of them would not help
		}
		s.ahead.used = time.Now()
		if len(s.idle) == 0 {
			if !lost {
				s.short()
			}
			s.lookAhead()
			s.mu.Unlock()
			return nil, nil
		}
		last := len(s.idle) - 1
		c := s.idle[last]
		s.idle = s.idle[:last]
		s.lookAhead()
		s.mu.Unlock()
		if netio.Quiet(c.conn) {
			return c, nil
		}
		s.forget(c)
		_ = c.conn.Close()
	}
}

// park keeps c for the next flow, unless there is more on it than the flow before.
func (s *Session) park(c *chain) {
	clean := c.in.empty()
	c.in.drop()
	s.mu.Lock()
	c.since = time.Now()
	c.flow, c.ended = nil, nil
	keep := clean && s.err == nil && len(s.idle) < chainIdleMax
	if keep {
		s.idle = append(s.idle, c)
	} else {
		delete(s.chains, c)
	}
	s.mu.Unlock()
	if !keep {
		_ = c.conn.Close()
		s.free()
	}
	s.endIfLeft()
}

// free tells linger that a link has ended.
func (s *Session) free() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// adopt takes c among the links that end with the session. It reports whether the session is still there. Until its first
// record proves that c has a flow, whoever has seen the session's number may have sent it, and nothing depends on it.
func (s *Session) adopt(c *chain) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	c.resting.Store(true)
	c.unproved.Store(true)
	s.chains[c] = struct{}{}
	return true
}

// forget takes c out of the links that end with the session.
func (s *Session) forget(c *chain) {
	s.mu.Lock()
	delete(s.chains, c)
	s.mu.Unlock()
	s.free()
	s.endIfLeft()
}

// staleChains returns the links that have been idle for too long, and are not the last. It is called with mu locked.
func (s *Session) staleChains(now time.Time) []*chain {
	kept := s.kept()
	fresh := 0
	for fresh < len(s.idle)-kept && now.Sub(s.idle[fresh].since) > chainIdleTimeout {
		delete(s.chains, s.idle[fresh])
		fresh++
	}
	stale := append([]*chain(nil), s.idle[:fresh]...)
	s.idle = append(s.idle[:0], s.idle[fresh:]...)
	return stale
}

package channel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/secureportal/sp/identity"
)

// tend does what a session must do in time: pings, new keys, looking at trust again, letting go of idle links.
func (s *Session) tend(ctx context.Context) error {
	ping := time.NewTimer(s.config.keepalive())
	defer ping.Stop()
	renew := time.NewTimer(s.renewIn())
	defer renew.Stop()
	for {
		changed := s.config.Trust.Changed()
		if err := s.review(); err != nil {
			return err
		}
		expiry, stop := s.expiry()
		var err error
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-changed:
		case <-expiry:
		case <-s.renewed:
			renew.Reset(s.renewIn())
		case <-renew.C:
			err = s.beginRenewal()
		case <-ping.C:
			var next time.Duration
			next, err = s.keepalive()
			ping.Reset(next)
		}
		stop()
		if err != nil {
			return err
		}
	}
}

// renewIn returns when to replace the keys: not at the same time as everybody else. Only the initiator does.
func (s *Session) renewIn() time.Duration {
	const never = 1 << 62
	if s.role == identity.Responder {
		return never
	}
	after := s.config.renewAfter()
	return after - time.Duration(rand.Int64N(int64(after)/8+1))
}

// review asks again whether the far end is trusted.
func (s *Session) review() error {
	decision, err := s.config.Trust.Check(s.Peer(), time.Now())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decision = decision
	return nil
}

// expiry returns a channel that delivers when trust ends by itself.
func (s *Session) expiry() (<-chan time.Time, func() bool) {
	until := s.Decision().Until
	if until.IsZero() {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(time.Until(until))
	return timer.C, timer.Stop
}

// keepalive sends a ping, or ends the session after too many without an answer. It returns when to do so again: soon
// if the last one has not been answered, so that a black hole is known for one within three keepalives.
func (s *Session) keepalive() (time.Duration, error) {
	now := time.Now()
	s.mu.Lock()
	s.silent++
	silent := s.silent - 1
	overdue := s.renewal != nil && now.After(s.renewal.by)
	stale := s.staleChains(now)
	forgotten := s.forgetOld(now)
	s.mu.Unlock()
	for _, c := range stale {
		_ = c.conn.Close()
	}
	for _, e := range forgotten {
		s.drop(e)
	}
	if silent >= maxUnanswered {
		return 0, ErrSilent
	}
	if overdue {
		return 0, fmt.Errorf("%w: it did not finish a handshake for new keys", ErrSilent)
	}
	if _, _, err := s.sendPing(); err != nil {
		return 0, linkError(err)
	}
	if silent > 0 {
		return s.config.keepalive() / 2, nil
	}
	return s.config.keepalive(), nil
}

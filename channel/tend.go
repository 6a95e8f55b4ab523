package channel

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
)

// tend does what a session must do in time: pings, new keys, letting go of idle links.
func (s *Session) tend() error {
	ping := time.NewTimer(s.config.KeepaliveInterval())
	defer ping.Stop()
	renew := time.NewTimer(s.renewIn())
	defer renew.Stop()
	asked, began := false, time.Time{}
	for {
		var err error
		select {
		case <-s.Done():
			return s.Err()
		case <-s.renewed:
			renew.Reset(s.renewIn())
			if asked {
				renew.Reset(time.Until(began.Add(minRenewAfter)))
			}
		case <-s.wanted:
			if s.role == identity.Responder {
				_ = s.say(typeRenew, nil)
				break
			}
			asked = true
			renew.Reset(time.Until(began.Add(minRenewAfter)))
		case <-renew.C:
			if !s.renewing() { // else what is asked for waits for the next
				asked, began = false, time.Now()
				err = s.beginRenewal()
			}
		case <-ping.C:
			var next time.Duration
			next, err = s.keepalive()
			ping.Reset(next)
		}
		if err != nil {
			return err
		}
	}
}

// Renew has both sides prove themselves anew: with the keys and credentials that they have now. It waits for nothing;
// who wants it more often than every few seconds waits for the next.
func (s *Session) Renew() {
	select {
	case s.wanted <- struct{}{}:
	default:
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

// keepalive sends a ping, or ends the session after too many without an answer. It returns when to do so again: soon
// if the last one has not been answered, so that a black hole is known for one well within three keepalives.
func (s *Session) keepalive() (time.Duration, error) {
	unanswered, err := s.tick(time.Now())
	if err != nil {
		return 0, err
	}
	_, _ = s.sendPing(nil) // say ends the session
	if unanswered > 0 {
		return s.config.KeepaliveInterval() / pingSpeedup, nil
	}
	return s.config.KeepaliveInterval(), nil
}

// tick lets go of links that have become old or stuck, and returns how many keepalives are without an answer.
func (s *Session) tick(now time.Time) (unanswered int, err error) {
	s.mu.Lock()
	unanswered = s.silent
	s.silent++
	overdue := s.renewal != nil && now.After(s.renewal.by)
	s.shrinkAhead(now)
	stale := s.staleChains(now)
	var dialed []*chain // who has accepted a link, watches it
	if s.role == identity.Initiator {
		dialed = slices.Collect(maps.Keys(s.chains))
	}
	s.mu.Unlock()
	for _, c := range stale {
		_ = c.conn.Close()
	}
	for _, c := range dialed {
		if netio.Stuck(c.conn) >= MaxUnanswered {
			_ = netio.Reset(c.conn)
		}
	}
	switch {
	case unanswered >= MaxUnanswered:
		return 0, ErrSilent
	case overdue:
		return 0, fmt.Errorf("%w: it did not finish a handshake for new keys", ErrSilent)
	}
	return unanswered, nil
}

// watch ends the session when its far end is not trusted any more. Nothing it does waits for the far end.
func (s *Session) watch() error {
	for {
		changed := s.config.Trust.Changed()
		until, err := s.review()
		if err != nil {
			return err
		}
		again := reviewInterval
		if !until.IsZero() {
			again = min(again, time.Until(until))
		}
		timer := time.NewTimer(again)
		select {
		case <-s.Done():
		case <-changed:
		case <-s.proved:
		case <-timer.C:
		}
		timer.Stop()
		if err := s.Err(); err != nil {
			return err
		}
	}
}

// review asks again whether the far end is trusted, and until when.
func (s *Session) review() (until time.Time, err error) {
	for {
		peer, now := s.Peer(), time.Now()
		decision, err := decide(s.config.Trust.Check, peer, now)
		if s.reviewed(peer, decision, err) {
			return decision.Until, err
		}
	}
}

// reviewed takes note of a decision, unless the far end has meanwhile proved itself again.
func (s *Session) reviewed(peer *identity.Peer, decision trust.Decision, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peer != peer {
		return false
	}
	if err == nil { // else the session is about to end, and was trusted as it was
		s.noteDecision(decision)
	}
	return true
}

// decide asks about peer, with a method of Trust. Trust that has ended is none, whatever it says.
func decide(
	ask func(*identity.Peer, time.Time) (trust.Decision, error), peer *identity.Peer, now time.Time,
) (trust.Decision, error) {
	d, err := ask(peer, now)
	if err == nil && !d.Until.IsZero() && !now.Before(d.Until) {
		return trust.Decision{}, fmt.Errorf("%s is %w: since %s", peer.Identifier(), trust.ErrNotTrusted, d.Until)
	}
	return d, err
}

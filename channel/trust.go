package channel

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
)

// trustReview decides again and again whether the far end is trusted: when decisions may have
// changed, when the far end has proved itself anew, when the last decision ends, and from time to
// time.
type trustReview struct {
	policy Trust
	proved signal // the far end has proved itself anew

	mu       sync.Mutex
	peer     *identity.Peer // as it last proved itself
	decision trust.Decision
	decided  chan struct{} // closed, and made anew, whenever decision becomes another
}

func newTrustReview(policy Trust, peer *identity.Peer, d trust.Decision) trustReview {
	return trustReview{
		policy: policy, proved: newSignal(), peer: peer, decision: d, decided: make(chan struct{}),
	}
}

// run returns when the far end is not trusted any more, or with the session. Nothing it does waits
// for the far end.
func (t *trustReview) run(session *life) error {
	for {
		changed := t.policy.Changed()
		until, err := t.review()
		if err != nil {
			return err
		}
		again := reviewInterval
		if !until.IsZero() {
			again = min(again, time.Until(until))
		}
		timer := time.NewTimer(again)
		select {
		case <-session.ctx.Done():
		case <-changed:
		case <-t.proved:
		case <-timer.C:
		}
		timer.Stop()
		if err := session.reason(); err != nil {
			return err
		}
	}
}

// review decides whether the far end is trusted, and until when.
func (t *trustReview) review() (until time.Time, err error) {
	for {
		peer, _ := t.last()
		decision, err := decide(t.policy.Check, peer, time.Now())
		if t.note(peer, decision, err) {
			return decision.Until, err
		}
	}
}

// note takes note of a decision, unless the far end has meanwhile proved itself anew.
func (t *trustReview) note(peer *identity.Peer, decision trust.Decision, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peer != peer {
		return false
	}
	if err == nil { // else the session is about to end, and was trusted as it was
		t.noteLocked(decision)
	}
	return true
}

// prove takes note that the far end has proved itself anew, and of the decision about it.
func (t *trustReview) prove(peer *identity.Peer, decision trust.Decision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peer = peer
	t.noteLocked(decision)
	t.proved.tell() // trust may end sooner now
}

func (t *trustReview) noteLocked(d trust.Decision) {
	last := t.decision
	t.decision = d
	if last.Anchor != d.Anchor || !last.Until.Equal(d.Until) ||
		!maps.Equal(last.Attributes, d.Attributes) {
		close(t.decided)
		t.decided = make(chan struct{})
	}
}

// last returns the far end as it last proved itself, and the last decision about it.
func (t *trustReview) last() (*identity.Peer, trust.Decision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peer, t.decision
}

// changes returns a channel that is closed when the decision becomes another.
func (t *trustReview) changes() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.decided
}

// decide asks about peer, with a method of Trust. Trust that has ended is none, whatever it says.
func decide(
	ask func(*identity.Peer, time.Time) (trust.Decision, error), peer *identity.Peer, now time.Time,
) (trust.Decision, error) {
	d, err := ask(peer, now)
	if err == nil && !d.Until.IsZero() && !now.Before(d.Until) {
		return trust.Decision{}, fmt.Errorf("%s is %w: since %s",
			peer.Identifier(), trust.ErrNotTrusted, d.Until)
	}
	return d, err
}

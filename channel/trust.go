package channel

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
)

// trustReview decides again and again whether the far end is trusted: when decisions may have
// changed, when the far end has proved itself anew, when the last decision ends, and from time to
// time.
type trustReview struct {
	policy  Trust
	as      trust.As // what the far end is taken for
	reviews *chores  // decides again

	mu       sync.Mutex
	again    *time.Timer    // when to decide, if the decision ends by itself; nil if none has
	peer     *identity.Peer // as it last proved itself
	decision trust.Decision
	decided  chan struct{} // closed whenever noteLocked says so; nil while nobody waits for that
	tells    []*func()     // called then
}

func newTrustReview(
	policy Trust, peer *identity.Peer, as trust.As, d trust.Decision, reviews *chores,
) trustReview {
	return trustReview{
		policy: policy, as: as, reviews: reviews,
		peer: peer, decision: d,
	}
}

// reviewAt has the decision made again when it ends. Zero is never.
func (t *trustReview) reviewAt(until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.again != nil {
		t.again.Stop()
		t.again = nil
	}
	if !until.IsZero() {
		t.again = time.AfterFunc(time.Until(until), func() { t.reviews.add(choreReview) })
	}
}

// review decides whether the far end is trusted, and until when.
func (t *trustReview) review() (until time.Time, err error) {
	for {
		peer, _ := t.last()
		decision, err := decide(t.policy.Check, peer, t.as, time.Now())
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
		t.noteLocked(peer, decision)
	}
	return true
}

// prove takes note that the far end has proved itself anew, and of the decision about it.
func (t *trustReview) prove(peer *identity.Peer, decision trust.Decision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noteLocked(peer, decision)
	t.reviews.add(choreReview) // trust may end sooner now
}

// noteLocked tells those who wait for changes if what the far end presents, or the decision about
// it, is another.
func (t *trustReview) noteLocked(peer *identity.Peer, d trust.Decision) {
	shown, last := t.peer, t.decision
	t.peer, t.decision = peer, d
	if last.Anchor != d.Anchor || !last.Until.Equal(d.Until) ||
		!maps.Equal(last.Attributes, d.Attributes) ||
		!slices.EqualFunc(shown.Credentials, peer.Credentials, sameCredential) {
		for _, tell := range t.tells {
			(*tell)()
		}
		if t.decided != nil {
			close(t.decided)
			t.decided = nil
		}
	}
}

func sameCredential(a, b *identity.Credential) bool { return bytes.Equal(a.Bytes(), b.Bytes()) }

// last returns the far end as it last proved itself, and the last decision about it.
func (t *trustReview) last() (*identity.Peer, trust.Decision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peer, t.decision
}

// tellDecided has f called whenever noteLocked says so, until remove is called.
func (t *trustReview) tellDecided(f func()) (remove func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tell := &f
	t.tells = append(t.tells, tell)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.tells = slices.DeleteFunc(t.tells, func(other *func()) bool { return other == tell })
	}
}

// changes returns a channel that is closed when the far end presents other credentials, or the
// decision becomes another.
func (t *trustReview) changes() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.decided == nil {
		t.decided = make(chan struct{})
	}
	return t.decided
}

// decide asks about peer, with a method of Trust. Trust that has ended is none, whatever it says.
func decide(
	ask func(*identity.Peer, trust.As, time.Time) (trust.Decision, error),
	peer *identity.Peer, as trust.As, now time.Time,
) (trust.Decision, error) {
	d, err := ask(peer, as, now)
	if err == nil && !d.Until.IsZero() && !now.Before(d.Until) {
		return trust.Decision{}, fmt.Errorf("%s is %w: since %s",
			peer.Identifier(), trust.ErrNotTrusted, d.Until)
	}
	return d, err
}

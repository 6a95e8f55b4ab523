package channel

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
)

// wallet is a node's credentials, which can be replaced.
type wallet struct {
	held atomic.Pointer[identity.Credential]
}

func (w *wallet) present() [][]byte { return [][]byte{w.held.Load().Bytes()} }

// vouched is a lab in which one side trusts the other for a credential only.
type vouched struct {
	authority, subject *identity.Identity
	role               string // of the subject
	wallet             wallet
}

// issue replaces the credential by one that lives for a while from now on.
func (v *vouched) issue(t testing.TB, life time.Duration) {
	t.Helper()
	now := time.Now()
	c, err := v.authority.Issue(nil, identity.Claims{
		Subject: v.subject.Identifier(), NotBefore: now.Add(-time.Minute), Expires: now.Add(life),
		Attributes: map[string]string{"life": life.String(), "role": v.role},
	})
	if err != nil {
		t.Fatal(err)
	}
	v.wallet.held.Store(c)
}

// trustingAuthority returns a policy that trusts those whom authority vouches for.
func trustingAuthority(t testing.TB, authority *identity.Identity) *trust.Policy {
	t.Helper()
	trust, err := trust.NewPolicy(trust.Config{
		Authorities: []identity.Identifier{authority.Identifier()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// inVouched runs f twice: once with each side presenting the credential, which lives for 10 seconds
// at first.
func inVouched(
	t *testing.T, f func(t *testing.T, v *vouched, l *lab, s *Session, presenter *Endpoint),
) {
	for _, side := range []string{"initiator", "responder"} {
		t.Run(side, func(t *testing.T) {
			v := &vouched{authority: testkit.NewIdentity(t), role: "inlet"}
			inBubble(t, func(a, b *Config) {
				presents, checks := a, b
				if side == "responder" {
					presents, checks = b, a
					v.role = "relay"
				}
				v.subject = presents.Identity
				v.issue(t, 10*time.Second)
				presents.Credentials = v.wallet.present
				checks.Trust = trustingAuthority(t, v.authority)
			}, func(t *testing.T, l *lab) {
				presenter := l.initiator
				if side == "responder" {
					presenter = l.responder
				}
				f(t, v, l, l.session(), presenter)
			})
		})
	}
}

// Without Renew a session ends with the credential that it was made with, whatever there is to
// present by then.
func TestExpiryEndsSession(t *testing.T) {
	inVouched(t, func(t *testing.T, v *vouched, _ *lab, s *Session, _ *Endpoint) {
		v.issue(t, time.Hour)
		begin := time.Now()
		<-s.Done()
		if took := time.Since(begin); took > 10*time.Second || took < 8*time.Second {
			t.Errorf("it ended after %v", took)
		}
		wantErr(t, s.Err(), trust.ErrNotTrusted)
	})
}

// A new credential prolongs the session, whichever side presents it.
func TestRenewPresentsNewCredential(t *testing.T) {
	inVouched(t, func(t *testing.T, v *vouched, l *lab, s *Session, presenter *Endpoint) {
		for range 10 {
			time.Sleep(7 * time.Second)
			v.issue(t, 10*time.Second)
			presenter.Renew()
		}
		time.Sleep(7 * time.Second)
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
		if err := transfer(t, l.open(s), []byte("still here"), 1); err != nil {
			t.Error(err)
		}
	})
}

// A new credential that ends sooner ends the session sooner.
func TestRenewShortens(t *testing.T) {
	inVouched(t, func(t *testing.T, v *vouched, _ *lab, s *Session, presenter *Endpoint) {
		begin := time.Now()
		v.issue(t, 3*time.Second)
		presenter.Renew()
		<-s.Done()
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("it ended after %v", took)
		}
		wantErr(t, s.Err(), trust.ErrNotTrusted)
	})
}

// Who asks for more handshakes than anybody needs gets some, and what is presented in the end is
// what is there.
func TestRenewTooOften(t *testing.T) {
	inVouched(t, func(t *testing.T, v *vouched, _ *lab, s *Session, presenter *Endpoint) {
		before := s.epochID()
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			v.issue(t, 10*time.Second)
			presenter.Renew()
		}
		v.issue(t, time.Hour)
		presenter.Renew()
		time.Sleep(10 * time.Second)
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
		if s.epochID() == before {
			t.Error("the keys are the first ones")
		}
		time.Sleep(30 * time.Second)
		if err := s.Err(); err != nil {
			t.Errorf("the last credential was not presented: %v", err)
		}
	})
}

func (s *Session) epochID() sessionID {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	return s.keys.current.id
}

// Decided tells of a decision that is another one.
func TestDecided(t *testing.T) {
	inVouched(t, func(t *testing.T, v *vouched, l *lab, s *Session, presenter *Endpoint) {
		if presenter == l.initiator {
			return // the decision is the responder's
		}
		decided := s.Decided()
		s.keys.renew()
		time.Sleep(time.Second)
		select {
		case <-decided:
			t.Error("the same decision was told")
		default:
		}
		v.issue(t, time.Hour)
		time.Sleep(minRenewAfter)
		s.keys.renew()
		<-decided
		if got := s.Decision().Attributes["life"]; got != "1h0m0s" {
			t.Errorf("the credential's life is %q", got)
		}
	})
}

// A node that takes up a new key presents it in the next handshake, and from then on the old one is
// refused.
func TestRenewPresentsNewKey(t *testing.T) {
	var current atomic.Pointer[identity.Identity]
	inBubble(t, func(a, b *Config) {
		current.Store(a.Identity)
		a.Current, b.Current = current.Load, current.Load
	}, func(t *testing.T, l *lab) {
		s := l.session()
		old := current.Load()
		next, err := old.Rotate(nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		current.Store(next)
		l.initiator.Renew()
		time.Sleep(time.Minute)
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
		current.Store(old)
		_, err = l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
		wantErr(t, err, trust.ErrOlderHistory)
	})
}

// The initiator presents a ticket, to the one whom it is for and to nobody else.
func TestTicketIsPresentedToItsIssuer(t *testing.T) {
	for _, own := range []bool{true, false} {
		var presented *identity.Ticket
		inBubble(t, func(a, b *Config) {
			issuer := b.Identity
			if !own {
				issuer = testkit.NewIdentity(t)
			}
			ticket, err := issuer.Ticket(nil, "/service/x", time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			a.Ticket = func(peer identity.Identifier) []byte {
				if peer != ticket.Issuer() {
					return nil
				}
				return ticket.Bytes()
			}
			// A responder has none to present.
			b.Ticket = func(identity.Identifier) []byte { return ticket.Bytes() }
			b.Trust = spyTrust{b.Trust, func(p *identity.Peer) { presented = p.Ticket }}
		}, func(_ *testing.T, l *lab) { l.session() })
		if (presented != nil) != own {
			t.Errorf("own issuer %v, and the ticket presented is %v", own, presented)
		}
	}
}

// spyTrust tells see whom Trust is asked about.
type spyTrust struct {
	Trust
	see func(*identity.Peer)
}

func (t spyTrust) Accept(p *identity.Peer, as trust.As, now time.Time) (trust.Decision, error) {
	t.see(p)
	return t.Trust.Accept(p, as, now)
}

// Both sides are told when keys have been replaced, and of nothing else.
func TestRenewedIsTold(t *testing.T) {
	var told [2]atomic.Int64
	inBubble(t, func(a, b *Config) {
		a.Renewed, b.Renewed = func() { told[0].Add(1) }, func() { told[1].Add(1) }
	}, func(t *testing.T, l *lab) {
		s := l.session()
		for n := range int64(3) {
			time.Sleep(minRenewAfter)
			if a, b := told[0].Load(), told[1].Load(); a != n || b != n {
				t.Errorf("after %d renewals: told %d and %d times", n, a, b)
			}
			s.keys.renew()
		}
	})
}

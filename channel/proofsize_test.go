package channel

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/noise"
)

// rotatedOften returns id with the longest history there is.
func rotatedOften(t *testing.T, id *identity.Identity) *identity.Identity {
	t.Helper()
	for id.History().Len() < identity.MaxChanges {
		next, err := id.Rotate(nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		id = next
	}
	return id
}

// credentialsOf returns as many credentials about subject as may be presented, each with a text of
// some size.
func credentialsOf(t *testing.T, subject identity.Identifier, size int) [][]byte {
	t.Helper()
	authority := testkit.NewIdentity(t)
	var all [][]byte
	for range identity.MaxCredentials {
		c, err := authority.Issue(nil, identity.Claims{
			Subject: subject, NotBefore: time.Now().Add(-time.Minute), Expires: time.Now().Add(time.Hour),
			Attributes: map[string]string{"role": fmt.Sprintf("%0*d", size, 1)},
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c.Bytes())
	}
	return all
}

// The longest history fits beside the most credentials of the usual size, on both sides, with the
// suites whose messages are the longest.
func TestLongestProofFits(t *testing.T) {
	id := rotatedOften(t, testkit.NewIdentity(t))
	credentials := credentialsOf(t, id.Identifier(), 20)
	if n := identity.ProofSize(id.History(), credentials); n > MaxProof || n < 8192 {
		t.Fatalf("the proof has %d bytes", n)
	}
	for _, suites := range [][]noise.Suite{DefaultSuites(), {quickSuite(t)}} {
		both := func(a, b *Config) {
			for _, c := range []*Config{a, b} {
				c.Suites, c.Identity, c.Trust = suites, id, testkit.Trusting(t, id)
				c.Credentials = func() [][]byte { return credentials }
			}
		}
		inBubble(t, both, func(t *testing.T, l *lab) {
			if err := transfer(t, l.open(l.session()), pattern(5000), 1000); err != nil {
				t.Error(err)
			}
		})
	}
}

// MaxProof is what fits, and no byte more, with the longest name and the longest messages.
func TestMaxProof(t *testing.T) {
	suite := DefaultSuites()[0]
	for _, size := range []int{MaxProof, MaxProof + 1} {
		h, g := bareHandshakes(t, suite)
		message, err := h.WriteMessage(nil, nil)
		if err == nil {
			_, _, err = g.ReadMessage(message)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = appendFrame(nil, func(dst []byte) ([]byte, error) {
			return g.WriteMessage(dst, func([]byte) ([]byte, error) {
				return make([]byte, 1+MaxName+surviveSize+size), nil
			})
		})
		if fits := err == nil; fits != (size == MaxProof) {
			t.Errorf("a proof of %d bytes: %v", size, err)
		}
	}
}

func bareHandshakes(t *testing.T, suite noise.Suite) (initiator, responder *noise.HandshakeState) {
	t.Helper()
	e := newLab(t, nil)
	t.Cleanup(e.close)
	made := make([]*noise.HandshakeState, 2)
	for i := range made {
		state, err := noise.NewHandshakeState(noise.Config{
			Suite: suite, Initiator: i == 0, Prologue: []byte("x"), Static: e.initiator.static,
		})
		if err != nil {
			t.Fatal(err)
		}
		made[i] = state
	}
	return made[0], made[1]
}

// A responder whom the initiator does not trust is told whom that has seen; it is no reason to call
// anybody untrusted.
func TestInitiatorLeaves(t *testing.T) {
	a, b := testkit.NewIdentity(t), testkit.NewIdentity(t)
	change := func(i, r *Config) {
		i.Identity, i.Trust = a, testkit.Trusting(t, a)
		r.Identity, r.Trust = b, testkit.Trusting(t, b, a.Identifier())
	}
	inBubble(t, change, func(t *testing.T, l *lab) {
		_, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
		wantErr(t, err, trust.ErrNotTrusted)
		l.close()
		for _, err := range l.ended() {
			wantErr(t, err, ErrLeft)
			wantErr(t, err, io.ErrUnexpectedEOF)
			if errors.Is(err, trust.ErrNotTrusted) {
				t.Errorf("nobody has said so: %v", err)
			}
			if want := b.Identifier().String(); !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s in it", err, want)
			}
		}
	})
}

// Two copies of a key file: the one that was not rotated is told why it is refused.
func TestRotatedElsewhere(t *testing.T) {
	before := testkit.NewIdentity(t)
	after, err := before.Rotate(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	known := trust.NewKnownHistories()
	if err := known.Observe(after.History()); err != nil {
		t.Fatal(err)
	}
	policy, err := trust.NewPolicy(trust.Config{Self: after.Identifier(), Known: known})
	if err != nil {
		t.Fatal(err)
	}
	change := func(i, r *Config) {
		i.Identity, i.Trust = before, testkit.Trusting(t, before)
		r.Identity, r.Trust = after, policy
	}
	inBubble(t, change, func(t *testing.T, l *lab) {
		_, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
		wantErr(t, err, ErrGivenUp)
		wantErr(t, err, ErrRefusedByPeer)
	})
	other := testkit.NewIdentity(t) // is refused as well, and not for that
	change = func(i, r *Config) {
		i.Identity, i.Trust = other, testkit.Trusting(t, other, after.Identifier())
		r.Identity, r.Trust = after, policy
	}
	inBubble(t, change, func(t *testing.T, l *lab) {
		_, err := l.initiator.Initiate(t.Context(), "", trust.As{}, l.dial)
		wantErr(t, err, ErrRefusedByPeer)
		if errors.Is(err, ErrGivenUp) || !strings.Contains(err.Error(), other.String()) {
			t.Errorf("got %v", err)
		}
	})
}

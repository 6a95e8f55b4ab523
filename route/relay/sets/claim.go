package sets

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// Limits of signed claims. A decoder checks each before it allocates.
const (
	// MaxLifetime is for how long a claim counts from when it was asked for, whatever it says.
	MaxLifetime = time.Minute

	MaxAddresses = set.MaxAddresses
	MaxClaim     = 8192 // bytes
	maxHeld      = (1<<40 - 1) * time.Millisecond
)

// ErrMalformed is wrapped by every error for bytes that cannot be what they are taken for.
var ErrMalformed = set.ErrMalformed

const (
	claimVersion  = 1
	nonceSize     = 16
	instanceSize  = 8
	minAddress    = 5
	claimFixed    = 1 + 32 + 1 // version, relay, how many addresses
	claimLater    = instanceSize + 8 + 4
	questionFixed = 1 + nonceSize + 1
)

// Nonce is drawn at random by who asks where a name is. An answer that is not for it is none: so
// no clock has to agree with another one, and nothing can be said twice.
type Nonce [nonceSize]byte

// Question is what a relay asks the outlet that holds a name on it, for somebody else: to sign that
// it does, and that the relay is at these addresses.
type Question struct {
	Nonce     Nonce
	Addresses []wire.Address // 1 to MaxAddresses, of the kinds IP4, IP6 and DNS, the best first
}

// AppendTo appends the encoding, or gives an error that wraps ErrMalformed.
func (q *Question) AppendTo(dst []byte) ([]byte, error) {
	dst = append(append(dst, claimVersion), q.Nonce[:]...)
	return appendAddresses(dst, q.Addresses)
}

// ParseQuestion decodes b, which is one whole question. Its errors wrap ErrMalformed.
func ParseQuestion(b []byte) (q Question, err error) {
	if len(b) < questionFixed || len(b) > MaxClaim || b[0] != claimVersion {
		return Question{}, fmt.Errorf("%w: a question of %d bytes", ErrMalformed, len(b))
	}
	q.Nonce = Nonce(b[1:])
	q.Addresses, b, err = parseAddresses(b[1+nonceSize:])
	if err == nil && len(b) > 0 {
		err = fmt.Errorf("%w: %d bytes behind a question", ErrMalformed, len(b))
	}
	if err != nil {
		return Question{}, err
	}
	return q, nil
}

// Claim is what an outlet says, and signs, of a name that it holds on a relay. The name and the
// nonce of the question are not in it: who has asked knows both.
type Claim struct {
	Relay     identity.Identifier // whose the relay is, as the outlet has verified
	Addresses []wire.Address      // where that says that it is for others
	Instance  [instanceSize]byte  // which process it is

	// Held is for how long it has held the name there: the generation. Of two claims of one
	// identity the one that is held for less is the later one. Lifetime is for how long the claim
	// counts, from when it was asked for. Both are told in milliseconds, rounded down.
	Held, Lifetime time.Duration

	Owner *identity.History // who says so
}

// Sign returns the encoding of what id answers to a question about a name; Owner is not looked at.
func (c *Claim) Sign(id *identity.Identity, nonce Nonce, name string) ([]byte, error) {
	switch {
	case c.Relay.IsZero():
		return nil, fmt.Errorf("%w: a claim at nobody's relay", ErrMalformed)
	case c.Held < 0 || c.Held > maxHeld || c.Lifetime < 0 || c.Lifetime > MaxLifetime:
		return nil, fmt.Errorf("%w: a claim held for %v, for %v", ErrMalformed, c.Held, c.Lifetime)
	}
	b := append(append([]byte(nil), claimVersion), c.Relay[:]...)
	b, err := appendAddresses(b, c.Addresses)
	if err != nil {
		return nil, err
	}
	b = append(b, c.Instance[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Held.Milliseconds()))
	b = binary.BigEndian.AppendUint32(b, uint32(c.Lifetime.Milliseconds()))
	b = append(b, id.History().Bytes()...)
	said, err := signed(nonce, name, b)
	if err != nil {
		return nil, err
	}
	return append(b, id.SignHolding(said)...), nil
}

// signed is what the signature is over.
func signed(nonce Nonce, name string, claim []byte) ([]byte, error) {
	if err := set.ValidateName(name); err != nil {
		return nil, err
	}
	said := append([]byte(nil), nonce[:]...)
	return append(append(append(said, byte(len(name))), name...), claim...), nil
}

// ParseClaim decodes b, which is one whole claim, and verifies that who it says has signed it as
// the answer to that question about that name. Its errors wrap ErrMalformed, identity.ErrForged, or
// an error of a history. The cost is a verified signature, and two for each change of the history.
func ParseClaim(b []byte, nonce Nonce, name string) (c Claim, err error) {
	whole := b
	if len(b) < claimFixed || len(b) > MaxClaim || b[0] != claimVersion {
		return Claim{}, fmt.Errorf("%w: a claim of %d bytes", ErrMalformed, len(b))
	}
	c.Relay = identity.Identifier(b[1:])
	if c.Addresses, b, err = parseAddresses(b[claimFixed-1:]); err != nil {
		return Claim{}, err
	}
	if len(b) < claimLater {
		return Claim{}, fmt.Errorf("%w: a claim cut short", ErrMalformed)
	}
	c.Instance = [instanceSize]byte(b)
	held, lifetime := binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint32(b[16:])
	if held > uint64(maxHeld/time.Millisecond) || lifetime > uint32(MaxLifetime.Milliseconds()) ||
		c.Relay.IsZero() {
		return Claim{}, fmt.Errorf("%w: a claim out of its limits", ErrMalformed)
	}
	c.Held = time.Duration(held) * time.Millisecond
	c.Lifetime = time.Duration(lifetime) * time.Millisecond
	c.Owner, b, err = identity.ReadHistory(b[claimLater:])
	if err != nil {
		return Claim{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(b) != identity.HoldingSignature {
		return Claim{}, fmt.Errorf("%w: a signature of %d bytes", ErrMalformed, len(b))
	}
	said, err := signed(nonce, name, whole[:len(whole)-len(b)])
	if err != nil {
		return Claim{}, err
	}
	return c, c.Owner.VerifyHolding(said, b)
}

func appendAddresses(dst []byte, all []wire.Address) ([]byte, error) {
	if len(all) < 1 || len(all) > MaxAddresses {
		return nil, fmt.Errorf("%w: a relay has 1 to %d addresses", ErrMalformed, MaxAddresses)
	}
	dst = append(dst, byte(len(all)))
	for _, a := range all {
		if !set.IsNodeAddress(a) {
			return nil, fmt.Errorf("%w: an address of kind %d for a relay", ErrMalformed, a.Kind)
		}
		var err error
		if dst, err = wire.AppendAddress(dst, a); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	return dst, nil
}

// parseAddresses takes addresses off the front of b, which is not empty.
func parseAddresses(b []byte) (all []wire.Address, rest []byte, err error) {
	count := int(b[0])
	b = b[1:]
	if count < 1 || count > MaxAddresses || count*minAddress > len(b) {
		return nil, nil, fmt.Errorf("%w: %d addresses in %d bytes", ErrMalformed, count, len(b))
	}
	all = make([]wire.Address, count)
	for i := range all {
		if all[i], b, err = wire.ParseAddress(b); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if !set.IsNodeAddress(all[i]) {
			return nil, nil, fmt.Errorf("%w: an address of kind %d for a relay", ErrMalformed,
				all[i].Kind)
		}
	}
	return all, b, nil
}

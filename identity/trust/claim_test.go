package trust

import (
	"slices"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
)

// TestStrangerIsNotVerified presents proofs of which no signature is right. Who would not be
// trusted anyway is refused as such: nobody has looked at a signature. Who might be is not.
func TestStrangerIsNotVerified(t *testing.T) {
	inn := newInn(t)
	self, friend, stranger := inn.host, newIdentity(t, "friend"), newIdentity(t, "stranger")
	authority := newIdentity(t, "authority")
	claim := func(
		id *identity.Identity, ticket []byte, credentials ...[]byte,
	) (identity.Claim, error) {
		b, err := id.Prove(identity.Initiator, testHash, credentials, ticket)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-1] ^= 1
		b[1+1+1+1+32+32+8] ^= 1 // of the first change
		p, err := identity.ParseProof(identity.Initiator, b)
		if err != nil {
			return identity.Claim{}, err
		}
		if _, err := p.Verify(testHash); err == nil {
			t.Error("a proof without a right signature was verified")
		}
		return p.Claim(), nil
	}
	forged := func(b []byte) []byte {
		b = slices.Clone(b)
		b[len(b)-1] ^= 1
		return b
	}
	credential := issued(t, authority, stranger.Identifier()).Bytes()
	ofFriend := issued(t, authority, friend.Identifier()).Bytes()
	ticket := ticketOf(t, self).Bytes()
	one := Config{Allow: []identity.Identifier{friend.Identifier()}}
	fleet := Config{Authorities: []identity.Identifier{authority.Identifier()}}
	for name, test := range map[string]struct {
		policy      *Policy
		who         *identity.Identity
		ticket      []byte
		credentials [][]byte
		want        string
	}{
		"named":      {newPolicy(t, one), friend, nil, nil, ""},
		"not named":  {newPolicy(t, one), stranger, nil, nil, "who claims to be I"},
		"anyone":     {newPolicy(t, Config{AllowAnyone: true}), stranger, nil, nil, ""},
		"oneself":    {newPolicy(t, Config{Self: self.Identifier()}), self, nil, nil, ""},
		"credential": {newPolicy(t, fleet), stranger, nil, [][]byte{credential}, ""},
		"of another": {newPolicy(t, fleet), stranger, nil, [][]byte{ofFriend}, "about"},
		"forged": {
			newPolicy(t, fleet), stranger, nil,
			[][]byte{forged(credential), credential},
			"not signed by its authority",
		},
		"ticket": {inn.policy(nil), stranger, ticket, nil, ""},
		"forged ticket": {
			inn.policy(nil), stranger, forged(ticket), nil, "not signed by its issuer",
		},
		"ticket elsewhere": {newPolicy(t, one), stranger, ticket, nil, "not among the 1 allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := claim(test.who, test.ticket, test.credentials...)
			if err == nil {
				err = test.policy.MightTrust(c, anInlet, t0.Add(time.Minute))
			}
			if test.want != "" {
				wantErr(t, err, ErrNotTrusted, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

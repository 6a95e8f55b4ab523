package trust_test

import (
	"fmt"
	"log"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
)

// A node trusts whoever an authority vouches for, as long as the credential is valid.
func Example() {
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	authority, err := identity.New(nil, now)
	if err != nil {
		log.Fatal(err)
	}
	guest, err := identity.New(nil, now)
	if err != nil {
		log.Fatal(err)
	}
	credential, err := authority.Issue(nil, identity.Claims{
		Subject:    guest.Identifier(),
		Attributes: map[string]string{"role": "db"},
		NotBefore:  now, Expires: now.Add(time.Hour),
	})
	if err != nil {
		log.Fatal(err)
	}
	policy, err := trust.NewPolicy(trust.Config{
		Authorities: []identity.Identifier{authority.Identifier()},
		Require:     map[string]string{"role": "db"},
	})
	if err != nil {
		log.Fatal(err)
	}

	// A handshake makes a peer of the proof that it carries.
	peer := &identity.Peer{
		History:     guest.History(),
		Credentials: []*identity.Credential{credential},
	}
	decision, err := policy.Accept(peer, trust.As{Role: trust.Inlet}, now)
	fmt.Println(decision.Anchor, decision.Until.Format(time.TimeOnly), err)

	_, err = policy.Check(peer, trust.As{Role: trust.Inlet}, decision.Until)
	fmt.Println(err != nil)

	// Output:
	// authority 05:05:06 <nil>
	// true
}

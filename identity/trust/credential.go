package trust

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/secureportal/sp/identity"
)

// bestCredential decides by the credential that makes a peer trusted for the longest
// time. The error is the reasons why none does.
func (p *Policy) bestCredential(
	lists *lists, peer *identity.Peer, now time.Time,
) (Decision, error) {
	if len(peer.Credentials) == 0 {
		return Decision{}, errors.New("no credential was presented")
	}
	var best Decision
	var reasons error
	for i, c := range peer.Credentials {
		authority, err := p.checkCredential(lists, c, peer.Identifier(), now)
		if err != nil {
			reasons = join(reasons, fmt.Errorf("credential %d: %w", i+1, err))
		} else if best.Credential == nil || c.Expires().After(best.Until) {
			best = Decision{
				Anchor: AnchorAuthority, Until: c.Expires(), Credential: c, authority: authority,
			}
		}
	}
	if best.Credential == nil {
		return Decision{}, reasons
	}
	best.Attributes = best.Credential.Attributes()
	return best, nil
}

// CheckCredential tells why the policy would not believe c if subject presented it, or nil.
// It is for those who look at a credential beforehand: nobody has proved to be the subject.
func (p *Policy) CheckCredential(
	c *identity.Credential, subject identity.Identifier, now time.Time,
) error {
	_, err := p.checkCredential(p.lists.Load(), c, subject, now)
	return err
}

// checkCredential returns the history of c's authority if the policy believes c. It checks
// what is cheap first: signatures come last.
func (p *Policy) checkCredential(
	lists *lists, c *identity.Credential, subject identity.Identifier, now time.Time,
) (*identity.History, error) {
	authority := c.Authority()
	if !p.authorities[authority] {
		return nil, fmt.Errorf("issued by %s, who is not an authority here", authority)
	}
	if err := p.denied(lists, authority); err != nil {
		return nil, fmt.Errorf("its authority %s is %w", authority, err)
	}
	if at, ok := lists.revoked[c.Serial()]; ok {
		return nil, fmt.Errorf("revoked by %s: its serial number is %x", at, c.Serial())
	}
	if err := p.checkAttributes(c); err != nil {
		return nil, err
	}
	history, err := c.Verify(authority, subject, now)
	if err != nil {
		return nil, err
	}
	if err := p.known.Check(history); err != nil {
		return nil, fmt.Errorf("its authority %s: %w", authority, err)
	}
	return history, nil
}

// checkAttributes tells what of the required attributes c lacks.
func (p *Policy) checkAttributes(c *identity.Credential) error {
	if len(p.require) == 0 {
		return nil
	}
	attributes := c.Attributes()
	for _, key := range slices.Sorted(maps.Keys(p.require)) {
		if value, ok := attributes[key]; !ok {
			return fmt.Errorf("it has no attribute %s, required is %q", key, p.require[key])
		} else if value != p.require[key] {
			return fmt.Errorf("attribute %s is %q, required is %q", key, value, p.require[key])
		}
	}
	return nil
}

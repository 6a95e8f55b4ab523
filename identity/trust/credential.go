package trust

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/secureportal/sp/identity"
)

// bestCredential decides by the credential that makes somebody trusted for the longest
// time. The error is the reasons why none does. None counts behind one that is forged: who shows
// that shall not have more of them verified.
func (p *Policy) bestCredential(
	lists *lists, claim identity.Claim, as As, now time.Time,
) (Decision, error) {
	switch {
	case claim.Identifier == p.own:
		return Decision{}, errors.New("it is our own identity, for which no authority vouches here")
	case as.Role == Outlet && as.Name == "":
		return Decision{}, ErrNameless
	case len(claim.Credentials) == 0:
		return Decision{}, errors.New("no credential was presented")
	}
	var best Decision
	var reasons error
	for i, c := range claim.Credentials {
		authority, err := p.checkCredential(lists, c, claim.Identifier, p.wants(as), now)
		if errors.Is(err, identity.ErrForged) {
			return Decision{}, fmt.Errorf("credential %d: %w", i+1, err)
		}
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
// It is for those who look at a credential beforehand: nobody has proved to be the subject, nor is
// it taken for anything.
func (p *Policy) CheckCredential(
	c *identity.Credential, subject identity.Identifier, now time.Time,
) error {
	_, err := p.checkCredential(p.lists.Load(), c, subject, p.checkRequired, now)
	return err
}

// wants returns what tells why the attributes of a credential do not make its bearer trusted as
// what he is taken for.
func (p *Policy) wants(as As) func(attributes map[string]string) error {
	return func(attributes map[string]string) error {
		if err := as.fits(attributes); err != nil || !as.isRequired() {
			return err
		}
		return p.checkRequired(attributes)
	}
}

// checkCredential returns the history of c's authority if the policy believes c, and its
// attributes are what is wanted. It checks what is cheap first: signatures come last.
func (p *Policy) checkCredential(
	lists *lists, c *identity.Credential, subject identity.Identifier,
	check func(attributes map[string]string) error, now time.Time,
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
	if err := check(c.Attributes()); err != nil {
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

// checkRequired tells which of the required attributes are missing.
func (p *Policy) checkRequired(attributes map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(p.require)) {
		if value, ok := attributes[key]; !ok {
			return fmt.Errorf("it has no attribute %s, required is %q", key, p.require[key])
		} else if value != p.require[key] {
			return fmt.Errorf("attribute %s is %q, required is %q", key, value, p.require[key])
		}
	}
	return nil
}

package portal

import (
	"errors"
	"net/netip"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// Who says to whom a rule applies: whoever is trusted, and has all of what is said here.
type Who struct {
	// Identifier is who somebody is. Zero is anybody.
	Identifier identity.Identifier
	// Attributes are those of his credential. Whoever is not trusted by one has none.
	Attributes map[string]string
}

// IsAnybody tells whether nothing is asked of anybody.
func (w Who) IsAnybody() bool { return w.Identifier.IsZero() && len(w.Attributes) == 0 }

// includes tells whether a peer is one of those.
func (w Who) includes(p peer) bool {
	if !w.Identifier.IsZero() && w.Identifier != p.identifier {
		return false
	}
	for key, value := range w.Attributes {
		if has, ok := p.attributes[key]; !ok || has != value {
			return false
		}
	}
	return true
}

// Rule lets some reach a service of an outlet, or addresses.
type Rule struct {
	Service string            // its name; empty if Where counts
	Where   transport.Pattern // what may be connected to
	Who     Who
}

// Rules are all of an outlet. What none of them allows is not allowed.
type Rules []Rule

// peer is who asks, as far as rules ask about him.
type peer struct {
	identifier identity.Identifier
	attributes map[string]string
}

func peerOf(s *channel.Session) peer {
	d := s.Decision()
	p := peer{identifier: s.Peer().Identifier()}
	if d.Anchor == trust.AnchorAuthority {
		p.attributes = d.Attributes
	}
	return p
}

// depend tells whether it makes a difference who asks.
func (all Rules) depend() bool {
	for _, r := range all {
		if !r.Who.IsAnybody() {
			return true
		}
	}
	return false
}

// allowService tells whether a peer may reach the service of a name. Where there are no rules,
// whoever is trusted may.
func (all Rules) allowService(name string, p peer) bool {
	for _, r := range all {
		if r.Service == name && r.Who.includes(p) {
			return true
		}
	}
	return len(all) == 0
}

// errNotAllowed says that no rule leads somewhere. A name that nobody knows is as good as one that
// leads where none of the rules does: who asks shall not find out by asking which names there are.
var errNotAllowed = errors.New("no rule allows it for this peer")

// towards returns what tells whether a peer that wants to connect to a may connect to an address:
// to a, or one that its name stands for. named tells whether a rule has a's name. An error is that
// there is no such address.
func (all Rules) towards(a wire.Address, p peer) (
	check func(netip.AddrPort) error, named bool, err error,
) {
	var patterns, networks []transport.Pattern
	for _, r := range all {
		if r.Service != "" || !r.Who.includes(p) {
			continue
		}
		patterns = append(patterns, r.Where)
		switch first, last := r.Where.Ports(); {
		case a.IsNamed() && r.Where.Matches(a):
			named = true
		case a.Port >= first && a.Port <= last && r.Where.IsNetwork():
			networks = append(networks, r.Where)
		}
	}
	if !named && len(networks) == 0 {
		return nil, false, errNotAllowed
	}
	check = func(at netip.AddrPort) error {
		to := transport.FromAddrPort(at)
		for _, network := range networks {
			if network.Matches(to) && !network.LeadsHome(to) {
				return nil
			}
		}
		if !named {
			return errNotAllowed
		}
		return transport.Reaches(patterns, a, at.Addr())
	}
	if !a.IsNamed() { // it is known where that is
		err = check(netip.AddrPortFrom(a.IP, a.Port))
	}
	return check, named, err
}

package direct

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// What this side connects to, the other side says. That one is trusted, in some role, and repeats
// what a relay has said, which is trusted in none: neither is to have this side knock wherever it
// likes.

// lowestPort is the lowest port that is connected to: services have those below, and NATs do not
// give them to connections that go out.
const lowestPort = 1024

// Side is what is known on one side.
type Side struct {
	// Relay is where the relay was reached by which this side has learned its own address, and Seen
	// the address that it has been seen to have.
	Relay netip.Addr
	Seen  netip.AddrPort

	// Own are the networks that this machine's interfaces are in, each with the machine's address.
	Own []netip.Prefix

	// Withheld tells whether an address is of a kind that nobody has who is somewhere else.
	Withheld func(netip.Addr) bool
}

// Why a side connects to no address that has been said.
var (
	ErrSeenUnfit = errors.New("the relay sees this side at an address that nobody else can reach")
	ErrNoneFit   = errors.New("the other side is at no address that this one would connect to")
)

// CheckSeen tells whether the address that this side has been seen to have is one to tell others.
// A relay behind a proxy sees that one's.
func (s Side) CheckSeen() error {
	if !s.fits(s.Seen) {
		return fmt.Errorf("%w: %v", ErrSeenUnfit, s.Seen)
	}
	return nil
}

// maxChosen is how many addresses a side connects to at most.
const maxChosen = 2

// Choose returns those of the addresses that the other side has said to which this side connects,
// the first ones, or why there are none.
func (s Side) Choose(said []netip.AddrPort) (to []netip.AddrPort, err error) {
	for _, a := range said {
		if len(to) < maxChosen && s.fits(a) && !s.isNear(a.Addr()) && !slices.Contains(to, a) {
			to = append(to, a)
		}
	}
	if len(to) == 0 {
		return nil, ErrNoneFit
	}
	return to, nil
}

// fits tells whether an address is one of somebody who could have reached the relay by it: where
// that is on the internet, so is he.
func (s Side) fits(a netip.AddrPort) bool {
	ip := a.Addr().Unmap()
	relay := s.Relay.Unmap()
	return ip.IsValid() && a.Port() >= lowestPort && ip.IsGlobalUnicast() && !s.Withheld(ip) &&
		ip.Zone() == "" && !isTranslated(ip) && ip.Is4() == relay.Is4() &&
		(!isPrivate(ip) || isPrivate(relay))
}

// isNear tells whether an address is this machine's, or its NAT's, or of a network that it is in
// and the relay is not: what is there is nobody's affair who is somewhere else.
func (s Side) isNear(ip netip.Addr) bool {
	ip, relay := ip.Unmap(), s.Relay.Unmap()
	near := func(p netip.Prefix) bool {
		own := p.Addr().Unmap()
		if bits := p.Bits() - (p.Addr().BitLen() - own.BitLen()); bits >= 0 {
			p = netip.PrefixFrom(own, bits)
		}
		return own == ip || p.Contains(ip) && !p.Contains(relay)
	}
	return ip == s.Seen.Addr().Unmap() || slices.ContainsFunc(s.Own, near)
}

// translated are the networks in which an address stands for one of another family: for which, it
// would have to be asked again.
var translated = []netip.Prefix{
	netip.MustParsePrefix("64:ff9b::/96"),   // NAT64 (RFC 6052)
	netip.MustParsePrefix("64:ff9b:1::/48"), // the same, of one's own (RFC 8215)
	netip.MustParsePrefix("2002::/16"),      // 6to4 (RFC 3056)
	netip.MustParsePrefix("2001::/32"),      // Teredo (RFC 4380)
}

func isTranslated(ip netip.Addr) bool {
	return slices.ContainsFunc(translated, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// sharedSpace is what a provider's NAT has inside (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

func isPrivate(ip netip.Addr) bool { return ip.IsPrivate() || sharedSpace.Contains(ip) }

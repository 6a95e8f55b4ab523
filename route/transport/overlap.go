package transport

import (
	"net/netip"
	"strings"

	"github.com/secureportal/sp/wire"
)

// Overlap tells whether nobody can listen at both of two addresses, as far as they say themselves:
// they are the same, or one port at hosts that are, or include, each other. What a name that is not
// localhost stands for is not looked up.
func Overlap(a, b Address) bool {
	if a == b {
		return !IsFreePort(a)
	}
	if network := portsOf(a); network == "" || network != portsOf(b) || a.Port != b.Port ||
		a.Port == 0 {
		return false
	}
	return includes(a, b) || includes(b, a)
}

// portsOf tells whose ports an address is at: TCP's or UDP's, or nobody's.
func portsOf(a Address) string {
	switch a.Kind {
	case wire.IP4, wire.IP6, wire.DNS, wire.TLS, wire.WS, wire.WSS:
		return "tcp"
	case wire.UDP, wire.QUIC:
		return "udp"
	}
	return ""
}

// includes tells whether who listens at the host of a does so at that of b. [::] and no host are
// everywhere, 0.0.0.0 is all of IPv4, and localhost both loopbacks.
func includes(a, b Address) bool {
	name, ip := listensOn(a)
	otherName, other := listensOn(b)
	switch {
	case name == "" && !ip.IsValid(), ip == netip.IPv6Unspecified():
		return true
	case ip == netip.IPv4Unspecified():
		return other.Is4() || otherName == Localhost
	case name == Localhost:
		return otherName == Localhost || other == netip.AddrFrom4([4]byte{127, 0, 0, 1}) ||
			other == netip.IPv6Loopback()
	}
	return name == otherName && ip == other
}

func listensOn(a Address) (name string, ip netip.Addr) {
	name, ip = a.Host()
	if a.Kind == wire.UDP {
		name, ip = a.Name, a.IP
	}
	return strings.ToLower(name), ip
}

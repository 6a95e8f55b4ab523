package admission

import (
	"net/netip"

	"github.com/secureportal/sp/identity"
)

// sourceBits6 is the size of the network that counts as one IPv6 source: a home or a server has
// at least that many addresses.
const sourceBits6 = 64

// Source is where a connection comes from, as far as limits tell sources apart: an IPv4 address, an
// IPv6 /64, or what else a transport knows of a peer. It is comparable. All who have the zero
// Source share one: this machine, and peers of whom a transport knows nothing.
type Source struct {
	prefix  netip.Prefix
	name    string
	trusted bool // an identity that is trusted, and so known
}

// FromIP returns the source of connections from an IP address.
func FromIP(ip netip.Addr) Source {
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = sourceBits6
	}
	prefix, _ := ip.Prefix(bits)
	return Source{prefix: prefix}
}

// String returns what is different for different sources.
func (s Source) String() string {
	if s.name != "" {
		return s.name
	}
	return s.prefix.String()
}

// FromName returns the source that a transport calls name, such as the address of a radio. Names of
// different transports must differ: they begin with the transport's scheme.
func FromName(name string) Source { return Source{name: name} }

// FromIdentity returns the source of what comes in a session of a peer that is trusted.
func FromIdentity(id identity.Identifier) Source {
	return Source{name: string(id[:]), trusted: true}
}

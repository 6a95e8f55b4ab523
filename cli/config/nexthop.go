package config

import (
	"net/netip"
	"slices"

	"github.com/secureportal/sp/route/transport"
)

// NextHops are where a bridge may forward to.
type NextHops []transport.Pattern

// Allow tells whether a message may be forwarded to a. An address of this machine, whatever that
// has just now, is in no network: it has to be written.
func (hops NextHops) Allow(a Address) bool {
	return slices.ContainsFunc(hops, func(p transport.Pattern) bool {
		return p.Matches(a) && !p.LeadsHome(a)
	})
}

// Reach returns nil if a link that was asked for by a, a host's name, may go to ip, for which that
// name stands just now.
func (hops NextHops) Reach(a Address, ip netip.Addr) error { return transport.Reaches(hops, a, ip) }

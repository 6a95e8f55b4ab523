package config

import (
	"slices"

	"github.com/secureportal/sp/route/transport"
)

// NextHops are where a bridge may forward to.
type NextHops []transport.Pattern

// Allow tells whether a message may be forwarded to a.
func (hops NextHops) Allow(a Address) bool {
	return slices.ContainsFunc(hops, func(p transport.Pattern) bool { return p.Matches(a) })
}

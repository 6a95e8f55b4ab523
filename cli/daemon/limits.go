package daemon

import (
	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route/admission"
)

const (
	filesPerConnection  = 2    // descriptors that a connection takes
	unauthenticatedPart = 4    // a fourth of all descriptors, at most, is for unauthenticated links,
	displacedPart       = 4    // and a fourth of that for those that make room for others
	restPart            = 8    // an eighth of all is for everything else,
	restMost            = 1024 // but not more than so many
	sessionsPart        = 8    // an eighth of all is for the sessions of one identity, at most
	identityPart        = 4    // and all but a fourth of what is not rest for its connections
)

// limits returns what l says. What it leaves open is the default, or less: anonymous peers must
// not get all descriptors, with links that say nothing, or with connections where a node carries
// them for whoever comes.
func limits(l config.Limits, forAnybody bool) admission.Limits {
	all := admission.Limits{
		Connections: l.Connections, PerIdentity: l.PerIdentity, PerSource: l.PerSource,
		Unauthenticated: l.Unauthenticated, HandshakeRate: l.HandshakeRate,
	}
	files, known := maxOpenFiles()
	if !known {
		return all
	}
	connections, unauthenticated := limitsWith(files)
	if forAnybody && l.Connections == 0 {
		all.Connections = min(config.DefaultMaxConnections, connections)
	}
	if l.Unauthenticated == 0 {
		all.Unauthenticated = min(config.DefaultMaxUnauthenticated, unauthenticated)
	}
	if !forAnybody {
		all.Descriptors = max(files-rest(files), 1)
		if l.PerIdentity == 0 {
			most := max(all.Descriptors-all.Descriptors/identityPart, 1)
			all.PerIdentity = min(config.DefaultMaxPerIdentity, most)
		}
	}
	return all
}

// sessionsLimit returns how many sessions one identity may have: what l says, or the default, or
// less where that would be too many descriptors.
func sessionsLimit(l config.Limits) int {
	files, known := maxOpenFiles()
	if l.Sessions > 0 || !known {
		return l.Sessions
	}
	return min(config.DefaultMaxSessions, max(files/sessionsPart, 1))
}

// rest returns how many of so many descriptors are for what limits do not count.
func rest(files int) int { return min(files/restPart, restMost) }

// limitsWith returns how many connections a node can carry that may open so many files, and how
// many unauthenticated links it can have: if all of both are taken there are descriptors left.
func limitsWith(files int) (connections, unauthenticated int) {
	unauthenticated = min(files/unauthenticatedPart, config.DefaultMaxUnauthenticated)
	links := unauthenticated + unauthenticated/displacedPart
	return max((files-links-rest(files))/filesPerConnection, 1), max(unauthenticated, 1)
}

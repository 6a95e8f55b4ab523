package daemon

import (
	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route"
)

const (
	filesPerConnection = 2    // descriptors of each connection that is carried
	strangersPart      = 4    // unauthenticated links have this part of all descriptors at most,
	displacedPart      = 4    // and this part of it as many more that make room for others
	restPart           = 8    // this part of all is for all else,
	restMost           = 1024 // but not more than so many
)

// limits returns what l says. What it leaves open is the default, unless that would let
// strangers have all descriptors: with links that say nothing, or with connections where a node
// carries them for whoever comes.
func limits(l config.Limits, forAnybody bool) route.Limits {
	all := route.Limits{
		Connections: l.Connections, PerIdentity: l.PerIdentity, PerSource: l.PerSource,
		Opening: l.Unauthenticated, HandshakeRate: l.HandshakeRate,
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
		all.Opening = min(config.DefaultMaxUnauthenticated, unauthenticated)
	}
	return all
}

// limitsWith returns how many connections a node can carry that may open so many files, and how
// many unauthenticated links it can have, so that strangers who have all of both leave
// descriptors.
func limitsWith(files int) (connections, unauthenticated int) {
	unauthenticated = min(files/strangersPart, config.DefaultMaxUnauthenticated)
	rest := min(files/restPart, restMost)
	strangers := unauthenticated + unauthenticated/displacedPart
	return max((files-strangers-rest)/filesPerConnection, 1), max(unauthenticated, 1)
}

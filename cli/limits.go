package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/relay"
)

const limitCategory = "Limits"

// limitFlags say how much a node takes on. What is over a limit is refused; what is there already does not suffer.
func limitFlags() []cli.Flag {
	return []cli.Flag{
		limit("max-connections", admission.DefaultConnections, "connections at once; by default, a relay or bridge takes no more than the files it may open allow"),
		limit("max-per-identity", admission.DefaultPerIdentity, "connections at once of one identity, which come through a channel"),
		limit("max-per-source", admission.DefaultPerSource, "connections at once from one IPv4 address or IPv6 /64, which come through none"),
		limit("max-sessions", channel.DefaultSessionsPerIdentity, "sessions at once of one identity"),
		limit("max-opening", admission.DefaultUnauthenticated, "links at once that nothing is known of yet, and as many from addresses that are known; by default, no more than a quarter of the files it may open"),
		limit("handshake-rate", admission.DefaultHandshakeRate, "handshakes a second from one IPv4 address or IPv6 /64"),
	}
}

// relayLimitFlags say how many names a relay gives away.
func relayLimitFlags() []cli.Flag {
	return []cli.Flag{
		limit("max-names", relay.DefaultNames, "names at once that outlets claim"),
		limit("max-names-per-identity", relay.DefaultNamesPerIdentity, "names at once of one identity"),
	}
}

func limit(name string, value int, what string) cli.Flag {
	return &cli.IntFlag{Name: name, Value: value, Category: limitCategory, Usage: "most `NUMBER` of " + what}
}

// checkLimits refuses limits that would let nothing through.
func checkLimits(c *cli.Context) error {
	for _, f := range append(limitFlags(), relayLimitFlags()...) {
		if name := f.Names()[0]; c.IsSet(name) && c.Int(name) < 1 {
			return usage(c, "--%s %d lets nothing through", name, c.Int(name))
		}
	}
	return nil
}

func registryConfig(c *cli.Context) relay.ServerConfig {
	return relay.ServerConfig{
		MayClaim: mayClaim,
		Directory: relay.NewMemory(relay.MemoryConfig{
			Names: c.Int("max-names"), NamesPerIdentity: c.Int("max-names-per-identity"),
		}),
	}
}

// limits returns what the flags say. By default strangers do not get all descriptors: neither with links that say nothing,
// nor with connections, which a node may carry for whoever comes.
func limits(c *cli.Context, forAnybody bool) admission.Limits {
	l := admission.Limits{
		Connections: c.Int("max-connections"), PerIdentity: c.Int("max-per-identity"), PerSource: c.Int("max-per-source"),
		Unauthenticated: c.Int("max-opening"), HandshakeRate: c.Int("handshake-rate"),
	}
	files, known := maxOpenFiles()
	if !known {
		return l
	}
	connections, opening := linksWith(files)
	if forAnybody && !c.IsSet("max-connections") {
		l.Connections = min(l.Connections, connections)
	}
	if !c.IsSet("max-opening") {
		l.Unauthenticated = min(l.Unauthenticated, opening)
	}
	return l
}

const (
	linksEach    = 2    // descriptors of each connection that is carried
	openingFiles = 4    // links that nothing is known of have this part of all descriptors at most
	openingLeave = 4    // and this part of it as many more that make room for others
	restFiles    = 8    // this part of all is for all else,
	restMost     = 1024 // but not more than so many
)

// linksWith returns how many connections a node can carry that may open so many files, and how many links that nothing is
// known of, so that strangers who have all of both leave descriptors.
func linksWith(files int) (connections, opening int) {
	opening = min(files/openingFiles, admission.DefaultUnauthenticated)
	rest := min(files/restFiles, restMost)
	return max((files-opening-opening/openingLeave-rest)/linksEach, 1), max(opening, 1)
}

//go:build linux

package topology

// All are the topologies of the tables, in their order.
func All() []Topology {
	return append([]Topology{
		none(),
		splice("splice", 2),
		copies("copy", 32<<10),
		copies("copy256", 256<<10),
		sealing("copy+aead", 4),
		sealing("copy+aead8", 8),
		sp(),
		ghostunnel(),
		stunnel(),
		ssh(),
		spiped(),
		chisel(),
		socat(),
		splice("splice3", 3),
		sealingRelayed(),
		spBridge(),
		spRelay(),
		spRelayMux(),
		frp(),
		frpGhostunnel(),
	}, spOver()...)
}

// none is what all others are compared with.
func none() Topology {
	return Topology{
		Name:  "none",
		About: "no tunnel",
		start: func(s *site, target string) (string, error) { return s.link(target) },
	}
}

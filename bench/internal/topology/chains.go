//go:build linux

package topology

// A Chain is topologies that differ in one number.
type Chain struct {
	Name string
	Make func(n int) Topology
}

// Hops are the chains with 1 and more processes between the ends.
func Hops() []Chain {
	return []Chain{
		{Name: "splice", Make: func(n int) Topology { return splice("splice", n+2) }},
		{Name: "sp-bridge", Make: spBridges},
		{Name: "sp-relay", Make: func(n int) Topology { return spRelays(n) }},
	}
}

// Nested is sp with 0 and more channels inside the first.
func Nested() []Chain {
	return []Chain{{Name: "sp-nested", Make: spNested}}
}

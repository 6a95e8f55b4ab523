//go:build linux

package topology

// A Family is topologies that differ in one number.
type Family struct {
	Name string
	Make func(n int) Topology
}

// Hops are the families with 1 and more processes between the ends.
func Hops() []Family {
	return []Family{
		{Name: "splice", Make: func(n int) Topology { return splice("splice", n+2) }},
		{Name: "sp-bridge", Make: spBridges},
		{Name: "sp-relay", Make: func(n int) Topology { return spRelays(n) }},
	}
}

// Nested is sp with 0 and more channels inside the first.
func Nested() []Family {
	return []Family{{Name: "sp-nested", Make: spNested}}
}

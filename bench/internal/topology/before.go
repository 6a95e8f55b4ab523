//go:build linux

package topology

import "slices"

// UsesSP says whether the topology is made of sp.
func (t Topology) UsesSP() bool { return slices.Contains(t.Needs, spAfter) }

// Before is a topology of sp with the build before. Both builds get the same flags.
func (t Topology) Before() Topology {
	start := t.start
	t.Name += "-before"
	t.About += ", the build before"
	t.Needs = slices.Clone(t.Needs)
	t.Needs[slices.Index(t.Needs, spAfter)] = spBefore
	t.start = func(s *site, target string) (string, error) {
		s.sp = spBefore
		return start(s, target)
	}
	return t
}

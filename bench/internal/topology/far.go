//go:build linux

package topology

import (
	"strconv"
	"time"
)

// The long line between the two ends of a topology that is far.
const (
	lineBits  = 1_000_000_000 // a second, each way
	lineDelay = 50 * time.Millisecond
)

// Far are the topologies with a long line in their middle: for a relayed one,
// between the relay and the end beside the service.
func Far() []Topology {
	list := []Topology{none(), sp(), ghostunnel(), ssh(), chisel(), spRelay(), spRelayMux(), frp()}
	for i := range list {
		near := list[i].start
		list[i].Needs = append([]string{"bench"}, list[i].Needs...)
		list[i].start = func(s *site, target string) (string, error) {
			s.far = true
			return near(s, target)
		}
	}
	return list
}

// link is the way to addr, which leads over the long line if there is one.
func (s *site) link(addr string) (string, error) {
	if !s.far {
		return addr, nil
	}
	return s.forward(addr, "delay", "-bits", strconv.Itoa(lineBits), "-delay", lineDelay.String())
}

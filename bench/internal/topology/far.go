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
		list[i].Needs = append([]string{"bench"}, list[i].Needs...)
		list[i] = list[i].over(longLine)
	}
	return list
}

// over is the topology with line between its two ends.
func (t Topology) over(line func(s *site, addr string) (string, error)) Topology {
	start := t.start
	t.start = func(s *site, target string) (string, error) {
		s.line = line
		return start(s, target)
	}
	return t
}

func longLine(s *site, addr string) (string, error) {
	return s.forward(addr, "delay",
		"-bits", strconv.Itoa(lineBits), "-delay", lineDelay.String())
}

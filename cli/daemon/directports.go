package daemon

import "math/rand/v2"

const (
	// directPorts is how many ports of its own a process has for direct ways: a few attempts may be
	// under way, and some of the ports others'.
	directPorts = 8
	// They are drawn from where no service of this machine is expected: the kernel takes its own from
	// there as well, and looks which are free.
	firstDirectPort, lastDirectPort = 49152, 60999
)

// drawPorts draws the ports at which others may meet this process. It does so at the start, and so
// can give up the right to any other.
func drawPorts() []uint16 {
	var all []uint16
	for range directPorts {
		all = append(all, uint16(firstDirectPort+rand.N(lastDirectPort-firstDirectPort+1)))
	}
	return all
}

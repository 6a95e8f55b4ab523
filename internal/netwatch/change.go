package netwatch

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Change is what is different about the network.
type Change struct {
	// Gone and Come are addresses of this machine.
	Gone, Come []netip.Addr
	// Left and Taken are the ways to the Internet that are not taken any more, and those that are
	// taken instead, in words: at most one each for IPv4 and for IPv6.
	Left, Taken []string
	// Jumped is for how long the machine has slept or the process has stood still, or by how much
	// the time of day has been put forward. 0 is not at all.
	Jumped time.Duration
	// Offline is that there is nothing to try now: the last way out is gone, or the last address,
	// and nothing has come since. There will be another change when something does.
	Offline bool
}

// String says for the log what has changed.
func (c Change) String() string {
	var all []string
	add := func(format string, of ...any) { all = append(all, fmt.Sprintf(format, of...)) }
	for _, a := range c.Gone {
		add("%v is gone", a)
	}
	for _, a := range c.Come {
		add("%v is new", a)
	}
	for _, way := range c.Left {
		add("no longer %s", way)
	}
	for _, way := range c.Taken {
		add("now %s", way)
	}
	if c.Jumped > 0 {
		add("the clock has jumped by %v", c.Jumped.Round(time.Millisecond))
	}
	return strings.Join(all, ", ")
}

// differs tells whether something is different about addresses and ways.
func (c Change) differs() bool {
	return len(c.Gone)+len(c.Come)+len(c.Left)+len(c.Taken) > 0
}

func (c Change) matters() bool { return c.differs() || c.Jumped > 0 }

// view is what the network is at one moment.
type view struct {
	addresses []netip.Addr
	ways      []way
}

// way is how packets to the Internet leave: one for each family of addresses that has one. What is
// not known is left empty.
type way struct {
	family  string // IPv4 or IPv6
	device  int    // its index
	name    string // the device's; it does not count
	gateway netip.Addr
	source  netip.Addr // the address that new connections have
}

// indexOf returns where w is among ways, or -1. What a device is called does not count.
func indexOf(ways []way, w way) int {
	return slices.IndexFunc(ways, func(v way) bool {
		v.name = w.name
		return v == w
	})
}

func (w way) String() string {
	text := w.family
	if w.gateway.IsValid() {
		text += " by " + w.gateway.WithZone("").String()
	}
	switch {
	case w.name != "":
		text += " on " + w.name
	case w.device > 0:
		text += fmt.Sprint(" on device ", w.device)
	}
	if w.source.IsValid() {
		text += " from " + w.source.WithZone("").String()
	}
	return text
}

// outlook is the last view, and whether there was anything left to try.
type outlook struct {
	view
	offline bool
}

// learn takes note of what the network is now, and says in c what is different.
func (o *outlook) learn(now view, c *Change) {
	before := o.view
	o.view = now
	for i, w := range now.ways {
		if known := indexOf(before.ways, w); known >= 0 {
			now.ways[i].name = before.ways[known].name
		} else {
			now.ways[i].name = deviceName(w.device)
		}
	}
	c.Gone = without(before.addresses, now.addresses)
	c.Come = without(now.addresses, before.addresses)
	for _, w := range before.ways {
		if indexOf(now.ways, w) < 0 {
			c.Left = append(c.Left, w.String())
		}
	}
	for _, w := range now.ways {
		if indexOf(before.ways, w) < 0 {
			c.Taken = append(c.Taken, w.String())
		}
	}
	lastLost := len(before.ways) > 0 && len(now.ways) == 0 ||
		len(before.addresses) > 0 && len(now.addresses) == 0
	switch {
	case len(c.Come)+len(c.Taken) > 0, len(now.ways) > 0:
		o.offline = false
	case lastLost:
		o.offline = true
	}
	c.Offline = o.offline
}

// deviceName returns what a device is called, or nothing.
func deviceName(index int) string {
	if index > 0 {
		if device, err := net.InterfaceByIndex(index); err == nil {
			return device.Name
		}
	}
	return ""
}

// without returns what is in a and not in b, in order, once.
func without(a, b []netip.Addr) []netip.Addr {
	var rest []netip.Addr
	for _, address := range a {
		if !slices.Contains(b, address) && !slices.Contains(rest, address) {
			rest = append(rest, address)
		}
	}
	slices.SortFunc(rest, netip.Addr.Compare)
	return rest
}

// counts tells whether an address is of use beyond its line.
func counts(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsLinkLocalUnicast() && !a.IsLoopback()
}

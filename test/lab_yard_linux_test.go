package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// yard is network namespaces around a router, which can keep packets from one to another one:
//
//	place 0 ── 10.78.0.0/24 ── router ── 10.78.1.0/24 ── place 1
//	        .2              .1        .1              .2
type yard struct {
	t      *testing.T
	nft    string
	router string
	places []string
}

// newYard makes so many places.
func newYard(t *testing.T, places int) *yard {
	t.Helper()
	testenv.NeedNetns(t)
	y := &yard{t: t, nft: testenv.NeedTool(t, "nft"), router: newNamespace(t)}
	inside(t, y.router, "echo 1 >/proc/sys/net/ipv4/ip_forward")
	for i := range places {
		space := newNamespace(t)
		y.places = append(y.places, space)
		leg, net := fmt.Sprintf("leg%d", i), fmt.Sprintf("10.78.%d", i)
		ip(t, "-n", y.router, "link", "add", leg, "type", "veth", "peer", "name", "eth",
			"netns", space)
		ip(t, "-n", y.router, "address", "add", net+".1/24", "dev", leg)
		ip(t, "-n", y.router, "link", "set", leg, "up")
		ip(t, "-n", space, "address", "add", net+".2/24", "dev", "eth")
		ip(t, "-n", space, "link", "set", "eth", "up")
		ip(t, "-n", space, "route", "add", "default", "via", net+".1")
	}
	setRules(t, y.nft, y.router, `table ip yard {
		set cut { type ipv4_addr . ipv4_addr; }
		chain through { type filter hook forward priority 0; ip saddr . ip daddr @cut drop; }
	}`)
	return y
}

func (y *yard) address(place int) string { return fmt.Sprintf("10.78.%d.2", place) }

// cut keeps packets that one place sends to another one from arriving.
func (y *yard) cut(from, to int) {
	y.t.Helper()
	y.part([]int{from}, []int{to}, false)
}

// part keeps packets from arriving that those of one side send to the others, or also those that
// the others send.
func (y *yard) part(side, others []int, bothWays bool) {
	y.t.Helper()
	var pairs []string
	for _, from := range side {
		for _, to := range others {
			a, b := y.address(from), y.address(to)
			pairs = append(pairs, a+" . "+b)
			if bothWays {
				pairs = append(pairs, b+" . "+a)
			}
		}
	}
	setRules(y.t, y.nft, y.router, fmt.Sprintf("add element ip yard cut { %s }",
		strings.Join(pairs, ", ")))
}

// heal has all packets arrive again.
func (y *yard) heal() {
	y.t.Helper()
	setRules(y.t, y.nft, y.router, "flush set ip yard cut")
}

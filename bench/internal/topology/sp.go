//go:build linux

package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/secureportal/sp/bench/internal/proc"
)

const (
	outletName = "bench" // at a relay
	toOutlet   = "/secure/api/service/outlet"
	innerHop   = "/secure/api/service/hop" // a channel that ends at the same node
)

// sp is an inlet and an outlet that reach each other.
func sp() Topology {
	return Topology{
		Name:   "sp",
		About:  "sp, direct",
		Cipher: spCipher,
		Needs:  []string{spAfter},
		start:  func(s *site, target string) (string, error) { return s.spDirect(target, 0) },
	}
}

func spBridge() Topology {
	return spBridges(1)
}

func spRelay() Topology {
	return spRelays(1)
}

// spRelayMux has the outlet make one connection to the relay, and no more.
func spRelayMux() Topology {
	t := spRelays(1, "--mux")
	t.Name += "-mux"
	t.About += ", over one connection of the outlet"
	return t
}

// spNested is sp with n channels inside the first.
func spNested(n int) Topology {
	t := sp()
	t.Name = "sp-nested"
	t.start = func(s *site, target string) (string, error) { return s.spDirect(target, n) }
	return t
}

// spBridges is n bridges between the inlet and the outlet.
func spBridges(n int) Topology {
	return Topology{
		Name:    "sp-bridge",
		About:   "sp through a bridge, end to end encrypted",
		Cipher:  spCipher,
		Relayed: true,
		Needs:   []string{spAfter},
		start: func(s *site, target string) (string, error) {
			next, err := s.spOutlet(target)
			if err != nil {
				return "", err
			}
			route := transport(next)
			for range n {
				if next, err = s.spListener("bridge", "--next", next); err != nil {
					return "", err
				}
				route = transport(next) + route
			}
			return s.spInlet(route + toOutlet)
		},
	}
}

// spRelays is n relays, each registered at the one before it, and an outlet with
// these flags at the last.
func spRelays(n int, outletFlags ...string) Topology {
	return Topology{
		Name:    "sp-relay",
		About:   "sp through a relay, end to end encrypted",
		Cipher:  spCipher,
		Relayed: true,
		Needs:   []string{spAfter},
		start: func(s *site, target string) (string, error) {
			relay, err := s.spListener("relay")
			if err != nil {
				return "", err
			}
			route := transport(relay)
			for i := 1; i < n; i++ {
				name := fmt.Sprintf("relay%d", i)
				relay, err = s.spListener("relay", "--relay", relay, "--name", name)
				if err != nil {
					return "", err
				}
				route += "/service/forward_to_" + name
			}
			if relay, err = s.link(relay); err != nil {
				return "", err
			}
			flags := append(slices.Clone(outletFlags),
				"--relay", relay, "--name", outletName, "--target", target)
			if err := s.spRun("outlet", flags...); err != nil {
				return "", err
			}
			return s.spInlet(route + "/service/forward_to_" + outletName + toOutlet)
		},
	}
}

func (s *site) spDirect(target string, nested int) (string, error) {
	outlet, err := s.spOutlet(target)
	if err != nil {
		return "", err
	}
	if outlet, err = s.link(outlet); err != nil {
		return "", err
	}
	return s.spInlet(transport(outlet) + strings.Repeat(innerHop, nested) + toOutlet)
}

func (s *site) spOutlet(target string) (string, error) {
	return s.spListener("outlet", "--target", target)
}

func (s *site) spInlet(route string) (string, error) {
	return s.spListener("inlet", "--to", route)
}

// openBridges has bridges pass on whatever comes, without a channel to each: that is how builds
// before the flag --open did, which do not know the variable either, so that the two can be
// compared.
const openBridges = "SP_OPEN=true"

// spListener starts a role at a free address, which it returns.
func (s *site) spListener(role string, args ...string) (string, error) {
	addr, err := proc.FreeAddr()
	if err != nil {
		return "", err
	}
	return addr, s.spRun(role, append([]string{"--listen", addr}, args...)...)
}

// spRun starts a role and waits until it says that it is ready.
func (s *site) spRun(role string, args ...string) error {
	env := append(slices.Clone(s.kit.env[s.sp]), openBridges)
	p, err := s.set.Start(env, s.kit.programs[s.sp], append([]string{role}, args...)...)
	if err != nil {
		return err
	}
	_, err = p.FirstLine(s.ctx)
	return err
}

// transport is an address as the first step of a route.
func transport(addr string) string {
	host, port := split(addr)
	return "/ip4/" + host + "/tcp/" + port
}

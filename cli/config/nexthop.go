package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/secureportal/sp/route"
)

// NextHops are where a bridge may forward to.
type NextHops []nextHop

// nextHop is one host name, or the addresses of one network, at some ports.
type nextHop struct {
	name        string // lower case; empty if prefix says where
	prefix      netip.Prefix
	first, last uint16
}

// parseNextHop reads host:ports or CIDR:ports, where ports is a port or first-last.
func parseNextHop(text string) (nextHop, error) {
	host, ports, ok := cutLast(text, ":")
	if !ok {
		return nextHop{}, errors.New("a port is missing: host:port")
	}
	var h nextHop
	var err error
	if h.first, h.last, err = parsePorts(ports); err != nil {
		return h, err
	}
	if inside, ok := strings.CutPrefix(host, "["); ok {
		bracketed, rest, closed := strings.Cut(inside, "]")
		if !closed {
			return h, errors.New("a bracket is not closed")
		}
		host = bracketed + rest
	}
	switch {
	case strings.Contains(host, "/"):
		h.prefix, err = netip.ParsePrefix(host)
		h.prefix = h.prefix.Masked()
	case isIP(host):
		ip := netip.MustParseAddr(host).Unmap()
		h.prefix = netip.PrefixFrom(ip, ip.BitLen())
	default:
		h.name = strings.ToLower(host)
		err = route.Address{Kind: route.KindDNS, Name: host, Port: h.first}.Validate()
	}
	return h, err
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func parsePorts(text string) (first, last uint16, err error) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	low, errLow := strconv.ParseUint(from, 10, 16)
	high, errHigh := strconv.ParseUint(to, 10, 16)
	if errLow != nil || errHigh != nil || low == 0 || high < low {
		return 0, 0, fmt.Errorf("ports are a number from 1 to 65535 or first-last, not %q", text)
	}
	return uint16(low), uint16(high), nil
}

// Allow tells whether a message may be forwarded to a. A host name is compared with names, not
// looked up: what a name stands for is in others' hands.
func (hops NextHops) Allow(a route.Address) bool {
	for _, h := range hops {
		if a.Port < h.first || a.Port > h.last {
			continue
		}
		if a.Kind == route.KindDNS && h.name != "" && strings.ToLower(a.Name) == h.name {
			return true
		}
		if a.Kind != route.KindDNS && h.name == "" && h.prefix.Contains(a.IP) {
			return true
		}
	}
	return false
}

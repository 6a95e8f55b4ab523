package transport

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/secureportal/sp/wire"
)

// Pattern is some TCP addresses: those of one host name, or of one network, at some ports. Its text
// is host:ports or CIDR:ports, where ports is one port or first-last; IPv6 may stand in brackets. A
// network is without the addresses that have to be written to be meant, as loopback, unless it lies
// within those. An address over TLS, WebSocket, QUIC or Bluetooth is a pattern as well: tls://host,
// wss://host/path.
type Pattern struct {
	kind        wire.Kind // TLS, WS, WSS, QUIC, BLE, NATS or Kafka; 0 for TCP
	path        string    // of such an address, or its queue
	name        string    // lower case; empty if prefix says where
	prefix      netip.Prefix
	first, last uint16
}

// ParsePattern reads a pattern.
func ParsePattern(text string) (Pattern, error) {
	if IsURL(text) {
		return parseURLPattern(text)
	}
	if !strings.Contains(text, ":") {
		return Pattern{}, fmt.Errorf("a port is missing: %s:PORT", Printable(text))
	}
	host, ports, err := cutPort(text)
	if err != nil {
		return Pattern{}, err
	}
	var p Pattern
	if p.first, p.last, err = parsePorts(ports); err != nil {
		return p, err
	}
	if inside, ok := strings.CutPrefix(host, "["); ok {
		bracketed, rest, closed := strings.Cut(inside, "]")
		if !closed {
			return p, errUnclosed
		}
		host = bracketed + rest
	}
	if strings.Contains(host, "/") {
		if p.prefix, err = netip.ParsePrefix(host); err != nil {
			const what = "%s is no network: that is an address and how long its prefix is, like 10.0.0.0/8"
			return p, fmt.Errorf(what, Printable(host))
		}
		p.prefix = unmapped(p.prefix.Masked())
		return p, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return p, errors.New("what a message asks for has no zone: no link would match")
		}
		p.prefix = netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen())
		return p, nil
	}
	p.name = strings.ToLower(host)
	return p, check(Address{Kind: wire.DNS, Name: host, Port: p.first})
}

func parseURLPattern(text string) (Pattern, error) {
	a, err := Parse(text)
	p := Pattern{kind: a.Kind, path: pathOf(a), first: a.Port, last: a.Port}
	if a.Kind == wire.BLE {
		p.name = a.Name
		return p, err
	}
	name, ip := a.Host()
	if p.name = strings.ToLower(name); name == "" {
		p.prefix = netip.PrefixFrom(ip, ip.BitLen())
	}
	return p, err
}

// unmapped returns a network of IPv4-mapped addresses as the IPv4 network that it is.
func unmapped(p netip.Prefix) netip.Prefix {
	const mapped = 96
	if !p.Addr().Is4In6() || p.Bits() < mapped {
		return p
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
}

func parsePorts(text string) (first, last uint16, err error) {
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, errFirst := parsePort(from, 1)
	last, errLast := parsePort(to, 1)
	if errFirst != nil || errLast != nil || last < first {
		const what = "ports are a number from 1 to 65535 or first-last, not %q"
		return 0, 0, fmt.Errorf(what, Printable(text))
	}
	return first, last, nil
}

// Ports are the first and the last port of p.
func (p Pattern) Ports() (first, last uint16) { return p.first, p.last }

// IsNetwork tells whether p is of TCP addresses, one or a network of them, and not of a name.
func (p Pattern) IsNetwork() bool { return p.kind == 0 && p.name == "" && p.prefix.IsValid() }

// OverUDP tells whether links to the addresses are made over UDP.
func (p Pattern) OverUDP() bool { return OverUDP(Address{Kind: p.kind}) }

// LeadsOn tells whether links to the addresses lead to others as well, which nobody knows before: a
// broker of Kafka says where those of its cluster are.
func (p Pattern) LeadsOn() bool { return p.kind == wire.Kafka }

// ByRadio tells whether links to the addresses are made over Bluetooth.
func (p Pattern) ByRadio() bool { return p.kind == wire.BLE }

// Matches tells whether a is one of the addresses. A host name is compared with names, not looked
// up: what a name stands for is in others' hands.
func (p Pattern) Matches(a Address) bool {
	name, ip := a.Host()
	switch {
	case a.Port < p.first || a.Port > p.last || urlOnly(a.Kind) != p.kind || pathOf(a) != p.path:
		return false
	case a.Kind == wire.BLE:
		return p.name == a.Name
	case name != "":
		return p.name != "" && strings.ToLower(name) == p.name
	case ip.IsValid():
		ip = plain(ip)
		return p.name == "" && p.prefix.Contains(ip) && !withholds(p.prefix, ip)
	}
	return false
}

// urlOnly returns the kind of an address over TLS, WebSocket or QUIC, and 0 for others.
func urlOnly(kind wire.Kind) wire.Kind {
	if urlScheme(kind) == "" {
		return 0
	}
	return kind
}

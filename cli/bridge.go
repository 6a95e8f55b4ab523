package cli

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/wire"
)

func bridgeCommand() *cli.Command {
	return &cli.Command{
		Name:        "bridge",
		Usage:       "join two networks: forward links to the next hops it is given, and nowhere else",
		UsageText:   "sp bridge --listen [HOST]:PORT --next HOST:PORT",
		Description: "When it listens, the bridge prints its address, and nothing else.",
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "`WHERE` links come in: [host]:port or unix:PATH; no host is every interface"},
			&cli.StringSliceFlag{Name: "next", Usage: "allowed next `HOP`: host:port, host:first-last, or CIDR:port(s); repeatable"},
		}, registerFlags()...), servingFlags()...),
		Action: need(runBridge, "listen", "next"),
	}
}

func runBridge(c *cli.Context) error {
	where, err := parseServing(c)
	if err != nil {
		return err
	}
	var hops nextHops
	for _, text := range c.StringSlice("next") {
		hop, err := parseNextHop(text)
		if err != nil {
			return usage(c, "--next %q: %w", text, err)
		}
		hops = append(hops, hop)
	}
	r, err := newRole(c, roleOptions{forward: hops.allow, forAnybody: true})
	if err != nil {
		return err
	}
	defer r.node.Close()
	return r.serve(c, where, func(l net.Listener) string { return describe(l) })
}

// nextHop is where a bridge may forward to: one host name, or the addresses of one network, at some ports.
type nextHop struct {
	name        string // lower case; empty if prefix says where
	prefix      netip.Prefix
	first, last uint16
}

type nextHops []nextHop

// parseNextHop reads host:ports or CIDR:ports, where ports is a port or first-last.
func parseNextHop(text string) (nextHop, error) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return nextHop{}, fmt.Errorf("a port is missing: host:port")
	}
	host, ports := text[:i], text[i+1:]
	var h nextHop
	var err error
	if h.first, h.last, err = parsePorts(ports); err != nil {
		return h, err
	}
	if inside, ok := strings.CutPrefix(host, "["); ok {
		bracketed, rest, closed := strings.Cut(inside, "]")
		if !closed {
			return h, fmt.Errorf("a bracket is not closed")
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
		err = wire.Address{Kind: wire.DNS, Name: host, Port: h.first}.Validate()
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

// allow tells whether a message may be forwarded to a. A host name is compared with names, not looked up: what a name
// stands for is in others' hands.
func (hops nextHops) allow(a wire.Address) bool {
	for _, h := range hops {
		if a.Port < h.first || a.Port > h.last {
			continue
		}
		if a.Kind == wire.DNS && h.name != "" && strings.ToLower(a.Name) == h.name {
			return true
		}
		if a.Kind != wire.DNS && h.name == "" && h.prefix.Contains(a.IP) {
			return true
		}
	}
	return false
}

package cli

import (
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

func outletCommand() *cli.Command {
	return &cli.Command{
		Name:  "outlet",
		Usage: "stand next to a service, and let trusted inlets reach it",
		UsageText: "sp outlet --listen [HOST]:PORT --target HOST:PORT\n" +
			"sp outlet --relay HOST:PORT --name NAME --target HOST:PORT",
		Description: "When it can be reached, the outlet prints the inlet's command that reaches it, and nothing else.",
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "`WHERE` inlets, relays and bridges connect: [host]:port or unix:PATH; no host is every interface"},
			&cli.StringFlag{Name: "target", Usage: "the `SERVICE`: host:port or unix:PATH; no host is loopback"},
			&cli.StringFlag{Name: "proxy-protocol", Usage: "tell the service who is calling, with a header of the PROXY protocol: `VERSION` v2"},
		}, registerFlags()...), servingFlags()...),
		Action: need(runOutlet, "target"),
	}
}

func runOutlet(c *cli.Context) error {
	var where place
	var err error
	switch {
	case c.IsSet("listen"):
		where, err = parseServing(c)
	case len(c.StringSlice("relay")) == 0:
		err = usage(c, "neither --listen nor --relay: nobody could reach the outlet")
	default:
		err = checkServing(c)
	}
	if err != nil {
		return err
	}
	target, err := parsePlace(c.String("target"), "127.0.0.1", false)
	if err != nil {
		return usage(c, "--target: %w", err)
	}
	if v := c.String("proxy-protocol"); v != "" && v != "v2" {
		return usage(c, "--proxy-protocol %q is not v2", v)
	}
	r, err := newRole(c, roleOptions{redeem: ticketRoute(c)})
	if err != nil {
		return err
	}
	defer r.node.Close()
	outlet := &portal.Outlet{
		Network: target.network, Address: target.address, ProxyProtocol: c.String("proxy-protocol") != "",
		ConnectTimeout: c.Duration("connect-timeout"), Logger: r.logger,
	}
	r.node.Handle(route.OutletName, outlet.Serve)
	return r.serve(c, where, func(l net.Listener) string { return r.inletCommandLine(c, l) })
}

// inletCommandLine is the command that reaches an outlet: all the roads to it.
func (r *role) inletCommandLine(c *cli.Context, l net.Listener) string {
	var b strings.Builder
	b.WriteString("sp inlet --listen 127.0.0.1:0")
	if l != nil {
		b.WriteString(" --to " + reachedAt(l))
	}
	for _, text := range c.StringSlice("relay") {
		if to, err := parseRelay(text); err == nil {
			b.WriteString(" --to " + route.Format(route.ThroughRelay(to, c.String("name"))))
		}
	}
	return b.String() + " --allow " + r.self.Identifier().String()
}

// reachedAt returns the route to the outlet behind l, as far as it can be known here: where it listens everywhere, by
// an address of this machine that others are likely to reach.
func reachedAt(l net.Listener) string {
	ap, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		return describe(l)
	}
	a := transport.FromAddrPort(ap)
	if ap.Addr().IsUnspecified() {
		a = thisMachine(ap)
	}
	return route.Format(route.ToOutlet(a))
}

func thisMachine(ap netip.AddrPort) wire.Address {
	addresses, _ := net.InterfaceAddrs()
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		if err == nil && prefix.Addr().IsGlobalUnicast() && (prefix.Addr().Is4() || !ap.Addr().Is4()) {
			return transport.FromAddrPort(netip.AddrPortFrom(prefix.Addr(), ap.Port()))
		}
	}
	if name, err := os.Hostname(); err == nil {
		named := wire.Address{Kind: wire.DNS, Name: name, Port: ap.Port()}
		if named.Validate() == nil {
			return named
		}
	}
	return transport.FromAddrPort(netip.AddrPortFrom(netip.IPv6Loopback(), ap.Port()))
}

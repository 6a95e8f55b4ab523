package cli

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/internal/printable"
	"github.com/secureportal/sp/internal/shellword"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

func outletCommand() *cli.Command {
	return &cli.Command{
		Name:  "outlet",
		Usage: "stand next to a service, and let trusted inlets reach it",
		UsageText: "sp outlet --listen [HOST]:PORT [--name NAME] --target HOST:PORT\n" +
			"sp outlet [HOST]:PORT TARGET              (the same, shorter)\n" +
			"sp outlet NAME@HOST:PORT TARGET           (behind a relay, shorter)\n" +
			"sp outlet --relay HOST:PORT --name NAME --target HOST:PORT\n" +
			"sp outlet --relay HOST:PORT --target NAME=HOST:PORT --target NAME=HOST:PORT …\n" +
			"sp outlet --listen [HOST]:PORT --socks5 --allow-target 'HOST:PORTS [if WHO]' …\n" +
			"sp outlet --listen [HOST]:PORT --target -            (stdin and stdout)",
		Description: "When it can be reached, the outlet prints the inlet's command that reaches it, " +
			"and nothing else;\none for each target that has a name. WHO is an Identifier, or KEY=VALUE, " +
			"an attribute of a\ncredential, or several of these with \"and\" between.",
		Flags: slices.Concat(outletFlags(), relayedFlags(
			"`NAME` that inlets ask for: where the outlet listens, and claimed on the relays",
		), lifeFlags(), surviveFlags(), certificateFlags(), portalFlags(ownKeyText)),
		Action: action(runOutlet, "target"),
	}
}

// outletFlags are those that no other role has, or not like this.
func outletFlags() []cli.Flag {
	return []cli.Flag{
		&listFlag{
			Name: "listen",
			Usage: "`WHERE` inlets, relays and bridges connect: [host]:port, unix:PATH, " +
				"tls://[host]:port, wss://[host]:port/path, ws:// behind a proxy, or " +
				"quic://[host]:port, which is UDP, or ble://:PSM; nats://broker/subject or " +
				"kafka://broker/topic, a queue; fd:N or systemd:NAME, handed over; " +
				"no host is every interface; repeatable",
		},
		&listFlag{
			Name: "target",
			Usage: "the `SERVICE`: host:port, unix:PATH, tls://host:port, which is verified, " +
				"udp://host:port, which is sent datagrams, - for stdin and stdout, or bench: for one " +
				"that sp bench measures; no host is loopback; or several, none of datagrams, " +
				"each NAME=SERVICE, which are asked for by these names, or by NAME.name if the outlet " +
				"has a --name; repeatable",
		},
		&listFlag{
			Name: "sni",
			Usage: "where connections of TLS go by the server name that the client wants, " +
				"`NAME=SERVICE`; nothing is decrypted; those of other names go to --target, or end; " +
				"repeatable",
		},
		&cli.BoolFlag{
			Name: "socks5",
			Usage: "connect where clients of an inlet with --socks5 want to, as far as --allow-target " +
				"says",
		},
		&listFlag{
			Name: "allow-target", Category: whoCategory,
			Usage: "what may be reached, and by whom, `WHAT` or 'WHAT if WHO': with --socks5 " +
				"host:port, host:first-last, or CIDR:port(s), as --next of a bridge has it; else the " +
				"name of a --target or --sni, or * for that without; repeatable; without it, whoever " +
				"is trusted reaches all, and with --socks5 nothing",
		},
		&cli.StringFlag{
			Name: "target-ca", TakesFile: true, Category: whoCategory,
			Usage:       "verify a target of tls:// by the certificates in `FILE`, in PEM",
			DefaultText: "the system's",
		},
		onceFlag(),
		idleFlag(),
		&cli.StringFlag{
			Name: "check",
			Usage: "find out whether the service is well, and refuse connections while it is not: " +
				"`HOW` is tcp, or http://HOST:PORT/PATH, without a host on the target",
		},
		&cli.DurationFlag{
			Name: "check-interval", Value: config.DefaultCheckInterval, Category: timeCategory,
			Usage: "time between two checks; two in a row that fail, or do not, decide",
		},
		&cli.BoolFlag{
			Name: "share",
			Usage: "have the name on the relays together with other outlets of this identity that " +
				"say so too: connections are spread over them",
		},
		&cli.StringFlag{
			Name: "proxy-protocol",
			Usage: "tell the service who is calling, with a header of the PROXY protocol: " +
				"`VERSION` v2",
		},
	}
}

// outletOf is what the flags say of an outlet itself.
func outletOf(c *call) config.Outlet {
	target, targets := config.SplitTargets(c.list("target"))
	return config.Outlet{
		Entrance: entranceConfig(c), Target: target, Targets: targets,
		ServerNames: c.list("sni"), Socks5: c.yes("socks5"), AllowTargets: c.list("allow-target"),
		ProxyProtocol: c.text("proxy-protocol"), TargetCA: c.text("target-ca"), Once: c.yes("once"),
		Check: c.text("check"), CheckInterval: c.duration("check-interval"),
	}
}

func runOutlet(c *call) error {
	options, err := daemonOptions(c)
	if err != nil {
		return err
	}
	out := outletOf(c)
	w := c.stdout
	if out.Target == config.Stdio {
		w = c.stderr
		if err := c.takeStdio(); err != nil {
			return err
		}
		options.Stdio = c.stdio
	}
	options.Notify = func(e daemon.Event) {
		if e.Kind == daemon.Ready {
			c.sayReady(w, options, inletCommands(out, e))
		}
	}
	all := config.Config{
		Node: nodeConfig(c), Outlets: []config.Outlet{out}, IdleExit: c.duration("idle-exit"),
	}
	if out.Target == config.Stdio {
		return runStdio(c, all, options)
	}
	return runPortals(c, all, options)
}

// inletCommands are the commands that reach an outlet, one for each of its names, by all the routes
// to it. They can be pasted into a shell.
func inletCommands(out config.Outlet, e daemon.Event) string {
	listen := loopbackFree
	if out.IsUDP() {
		listen = udpPrefix + loopbackFree
	}
	var all []string
	for _, entrance := range out.Entrances() {
		words := []string{"sp", "inlet", "--listen", listen}
		if out.Socks5 {
			words = append(words, "--socks5")
		}
		for _, to := range routesTo(entrance, e.Portal) {
			words = append(words, "--to", to)
		}
		all = append(all, shellword.Join(append(words, "--allow", e.Identifier.String())...))
	}
	return strings.Join(all, "\n")
}

// routesTo are all routes to an outlet, where it listens first.
func routesTo(entrance config.Entrance, p daemon.PortalStatus) (all []string) {
	for _, at := range p.Everywhere() {
		all = append(all, reachedAt(at, entrance.Name))
	}
	for _, text := range entrance.Relays {
		if relay, err := config.ParseRelay(text); err == nil {
			all = append(all, route.Format(route.ThroughRelay(relay, entrance.Name)))
		}
	}
	return all
}

// loopbackFree is where an inlet listens for this machine alone, at whatever port is free.
const loopbackFree = "127.0.0.1:0"

// reachedAt returns the route to the outlet that listens at an address and goes by a name, if it
// has one, as far as it can be known here: where it listens everywhere, by an address of this
// machine that others are likely to reach. A Unix socket's is short, but for a path that a line
// cannot hold.
func reachedAt(address, name string) string {
	ap, err := netip.ParseAddrPort(address)
	switch {
	case transport.IsURL(address):
		return reachedByURL(address, name)
	case err != nil:
		return reachedBySocket(address, name)
	}
	a := transport.FromAddrPort(ap)
	if ap.Addr().IsUnspecified() {
		a = thisMachine(ap)
	} else if a.IP.Is6() {
		a.IP = ap.Addr() // with its zone, without which nobody reaches it
	}
	return reachedThere(a, name)
}

// reachedByURL is reachedAt for an address over TLS or WebSocket.
func reachedByURL(address, name string) string {
	a, err := transport.ParseListen(address, "")
	if err != nil {
		return address
	}
	if transport.IsEverywhere(a) {
		a = transport.AtHost(a, thisMachine(netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port)))
	}
	return reachedThere(a, name)
}

func reachedThere(a route.Address, name string) string {
	if name != "" {
		return route.Format(route.ThroughRelay(route.Route{a}, name))
	}
	return route.Format(route.ToOutlet(a))
}

func reachedBySocket(address, name string) string {
	if name != "" {
		address = name + "@" + address
	}
	if to, err := route.Parse(address); err == nil && !printable.Is(address) {
		return route.Format(to)
	}
	return address
}

func thisMachine(ap netip.AddrPort) route.Address {
	addresses, _ := net.InterfaceAddrs()
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		if err != nil || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		if prefix.Addr().Is4() || !ap.Addr().Is4() {
			return transport.FromAddrPort(netip.AddrPortFrom(prefix.Addr(), ap.Port()))
		}
	}
	if name, err := os.Hostname(); err == nil {
		named := route.Address{Kind: route.KindDNS, Name: name, Port: ap.Port()}
		if named.Validate() == nil {
			return named
		}
	}
	return transport.FromAddrPort(netip.AddrPortFrom(netip.IPv6Loopback(), ap.Port()))
}

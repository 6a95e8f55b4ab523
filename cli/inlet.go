package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/shellword"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
)

func inletCommand() *cli.Command {
	return &cli.Command{
		Name:  "inlet",
		Usage: "listen where the client is, and carry each connection to an outlet",
		UsageText: "sp inlet [--listen] [HOST]:PORT [--to] ROUTE\n" +
			"sp inlet ROUTE                            (a free port of 127.0.0.1)\n" +
			"sp inlet NAME=[HOST]:PORT,NAME=[HOST]:PORT… ROUTE\n" +
			"sp inlet --listen unix:PATH --to ROUTE\n" +
			"sp inlet --listen [HOST]:PORT --socks5 --to ROUTE\n" +
			"sp inlet --listen - --to ROUTE            (stdin and stdout)\n" +
			"sp inlet --listen [HOST]:PORT --ticket TICKET",
		Description: "When the outlet has answered, the inlet prints the address where it listens, " +
			"and nothing else;\nif there are several, the name and address of each, when all have.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{
				Name: "listen",
				Usage: "`WHERE` clients connect: [host]:port, unix:PATH, or - for stdin and stdout; " +
					"fd:N or systemd:NAME, a socket that was handed over; " +
					"or udp://[host]:port, where they send datagrams; " +
					"no host is localhost, IPv4 and IPv6; port 0 is a free one; on the command " +
					"line also NAME=WHERE,NAME=WHERE, for outlets of these names where --to leads",
				DefaultText: loopbackFree,
			},
			&listFlag{
				Name: "to",
				Usage: "`ROUTE` to the outlet: host:port, name@relay:port, a chain of these with / " +
					"between, tls://, wss:// or quic://host:port, " +
					"ble://, nats://broker/subject or kafka://broker/topic, " +
					"where the outlet listens there, the long form, or - to read it from " +
					"stdin; repeatable, the best first: a connection takes the first that is open; " +
					"quic:// is for where UDP alone gets through, or much is lost, and takes four " +
					"times the CPU time of TCP",
			},
			&cli.BoolFlag{
				Name: "socks5",
				Usage: "have clients say where to connect to, with SOCKS 5 or HTTP's CONNECT: the outlet, " +
					"which has --socks5 as well, does so if it allows that, and looks up names",
			},
			ticketFlag(),
			&cli.BoolFlag{Name: "no-wait", Usage: "fail at once if the outlet does not answer"},
			&cli.BoolFlag{
				Name: "listen-when-ready",
				Usage: "listen only while a route is open, so that whoever connects otherwise is refused, " +
					"and checks of the port tell",
			},
			&cli.DurationFlag{
				Name: "udp-idle", Value: config.DefaultUDPIdle, Category: timeCategory,
				Usage: "end what carries a client's datagrams after so long without any; what only asked, " +
					"and was answered or not, ends after 30s",
			},
			onceFlag(),
			idleFlag(),
		}, lifeFlags(), surviveFlags(), portalFlags(ownKeyText)),
		Action: action(runInlet),
	}
}

func ticketFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "ticket",
		Usage: "redeem this `TICKET`, or the one in a file, or on stdin (-): it says whom to " +
			"trust, and where the outlet is unless --to does; never in the environment, " +
			"for it is a secret",
	}
}

// inletOf is what the flags say of an inlet itself, but for where it leads.
func inletOf(c *call) config.Inlet {
	return config.Inlet{
		Listen: c.text("listen"), NoWait: c.yes("no-wait"),
		ListenWhenReady: c.yes("listen-when-ready"), Once: c.yes("once"), Socks5: c.yes("socks5"),
		UDPIdle: c.duration("udp-idle"),
	}
}

func runInlet(c *call) error {
	in := inletOf(c)
	if in.Listen == "" {
		in.Listen = loopbackFree
	}
	inlets, _, err := severalInlets(in)
	if err != nil {
		return err
	}
	for _, one := range inlets {
		if _, err := one.Address(); err != nil {
			return err
		}
	}
	carriesStdio := in.Listen == config.Stdio
	c.stdin.taken = carriesStdio
	ticket, err := validTicket(c.text("ticket"), c.stdin)
	if err != nil {
		return err
	}
	if in.To, err = inletRoutes(c.list("to"), ticket, c.stdin); err != nil {
		return err
	}
	inlets, names, err := severalInlets(in)
	if err != nil {
		return err
	}
	options, err := daemonOptions(c)
	if err != nil {
		return err
	}
	node := nodeConfig(c)
	if ticket != nil {
		node.Ticket = ticket.String()
	}
	options.Stdio = c.stdio
	ready := whenAllReady(len(inlets), names, func(text string) {
		c.sayReady(c.stdout, options, text)
	})
	options.Notify = func(e daemon.Event) {
		switch {
		case e.Kind == daemon.Ready && e.Portal.Address != "":
			ready(e)
		case e.Kind == daemon.Redeemed:
			options.Logger.Info("the ticket is redeemed, and not needed any more",
				"next time", nextTime(in, ticket))
		}
	}
	all := config.Config{Node: node, IdleExit: c.duration("idle-exit"), Inlets: inlets}
	if carriesStdio {
		return runStdio(c, all, options)
	}
	return runPortals(c, all, options)
}

// nextTime is the command that does without the ticket. It can be pasted into a shell.
func nextTime(in config.Inlet, ticket *identity.Ticket) string {
	words := []string{"sp", "inlet", "--listen", in.Listen}
	if in.Socks5 {
		words = append(words, "--socks5")
	}
	routes, _ := in.Routes() // they have been tried
	for _, to := range routes {
		words = append(words, "--to", route.Format(to))
	}
	return shellword.Join(append(words, "--allow", ticket.Issuer().String())...)
}

// inletRoutes reads all that --to gives, or else takes the ticket's route.
func inletRoutes(texts []string, ticket *identity.Ticket, stdin *input) ([]string, error) {
	switch {
	case len(texts) > 0:
	case ticket == nil:
		return nil, usage("neither --to nor --ticket: where is the outlet?")
	default:
		texts = []string{ticket.Route()}
	}
	var all []string
	for _, text := range texts {
		to, text, err := readRoute(text, stdin)
		if err == nil {
			err = portal.CheckRoute(to)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

// validTicket reads what --ticket gives, or returns nil. What has expired is not presented to
// anybody.
func validTicket(text string, stdin *input) (*identity.Ticket, error) {
	if text == "" {
		return nil, nil
	}
	t, err := readTicket(text, stdin)
	if err == nil {
		err = checkTicket(t)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// checkTicket tells why a ticket is not worth presenting, or returns nil.
func checkTicket(t *identity.Ticket) error {
	if err := t.VerifySignature(); err != nil {
		return invalid(err)
	}
	if now := time.Now(); !now.Before(t.Expires()) {
		err := fmt.Errorf("the ticket expired at %s, and here it is %s",
			t.Expires().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		return withHint(invalid(err), "ask for a new one, if this machine's clock is right")
	}
	return nil
}

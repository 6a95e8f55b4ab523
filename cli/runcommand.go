package cli

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

const (
	defaultReadyTimeout = 30 * time.Second

	// defaultRunDrain is enough for what a command has said last, and short where it has left
	// somebody behind who keeps a connection open.
	defaultRunDrain = 5 * time.Second
)

const runWord = "run"

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  runWord,
		Usage: "run a command with inlets, or outlets, of its own, which end with it",
		UsageText: "sp run --to NAME=ROUTE -- COMMAND [ARGUMENT…]\n" +
			"sp run NAME=ROUTE NAME=ROUTE … -- COMMAND [ARGUMENT…]    (the same, shorter)\n" +
			"sp run --serve NAME=TARGET --relay HOST:PORT -- COMMAND [ARGUMENT…]",
		ArgsUsage: "-- COMMAND [ARGUMENT…]",
		Description: "With --to db=ROUTE, COMMAND finds the inlet, on a free port of 127.0.0.1, in " +
			"SP_DB_HOST, SP_DB_PORT\nand SP_DB_ADDR, which is both; {db}, {db.host} and {db.port} in its " +
			"arguments are replaced by these.\nWith --serve web=TARGET these are of the target, and " +
			"SP_WEB_ROUTE leads to the outlet, which has the\nname web. COMMAND is started when all " +
			"can be reached. It has the terminal and gets the signals, and\nits exit code is that of sp " +
			"run: 128 and the signal's number if a signal has ended it, 126 and 127\nif it could not be " +
			"run. If it has not come to that, it is one of sp's.",
		Flags: slices.Concat([]cli.Flag{
			&listFlag{
				Name: "to",
				Usage: "an inlet `NAME=ROUTE`, for datagrams with udp:// in front of the route; " +
					"repeatable, each with a name of its own; with --ticket, " +
					"NAME alone leads where the ticket says",
			},
			&listFlag{
				Name: "serve",
				Usage: "an outlet `NAME=TARGET`, of datagrams if that is udp://[HOST]:PORT, which is asked " +
					"for by that name; repeatable; it takes --relay or --listen",
			},
			ticketFlag(),
			&cli.DurationFlag{
				Name: "timeout", Value: defaultReadyTimeout, Category: timeCategory,
				Usage: "how long to wait until all can be reached",
			},
			&listFlag{
				Name: "listen",
				Usage: "`WHERE` the outlet of --serve listens, as sp outlet does; of several outlets, " +
					"only with port 0; repeatable",
			},
		}, without(relayedFlags(""), "name", "no-wait"), surviveFlags(), certificateFlags(), quietFlags(
			withDrain(defaultRunDrain, portalFlags(ownKeyText)))),
		Action: action(runRun),
	}
}

// without returns flags but for those of some names.
func without(flags []cli.Flag, names ...string) []cli.Flag {
	return slices.DeleteFunc(flags, func(f cli.Flag) bool {
		return slices.Contains(names, f.Names()[0])
	})
}

// withDrain returns flags, of which --drain has another default.
func withDrain(value time.Duration, flags []cli.Flag) []cli.Flag {
	for _, f := range flags {
		if d, ok := f.(*cli.DurationFlag); ok && d.Name == "drain" {
			d.Value, d.Usage = value, "how long open connections may take to finish at the end"
		}
	}
	return flags
}

// quietFlags returns flags for a command beside whose output only warnings belong.
func quietFlags(flags []cli.Flag) []cli.Flag { return loggingFrom("warn", flags) }

// loggingFrom has a command log from another level on, unless somebody says otherwise.
func loggingFrom(level string, flags []cli.Flag) []cli.Flag {
	for _, f := range flags {
		if s, ok := f.(*cli.StringFlag); ok && s.Name == "log-level" {
			s.Value = level
		}
	}
	return flags
}

func runRun(c *call) error {
	c.stdin.taken = true // it is the command's
	plan, err := readRunPlan(c)
	if err != nil {
		return err
	}
	options, err := daemonOptions(c)
	if err != nil {
		return err
	}
	path, err := findProgram(c.args[0])
	if err != nil {
		return err
	}
	environment := takeNotifications(c.environment("to", "serve"))
	confined := options.Confine
	options.Confine = false // the command would be as well
	group, endStatus, err := openGroup(c, plan, options)
	if err == nil {
		defer endStatus()
		if err = group.ready(c.ctx, c.duration("timeout")); err != nil {
			_ = group.daemon.Close()
		}
	}
	if err != nil {
		if ended := c.process.signals.ended(); ended != nil {
			return ended
		}
		return err
	}
	group.sayServed(c.stderr)
	words := group.words()
	running, err := c.start(path, words.replaceAll(c.args), words.addTo(environment))
	if err != nil {
		_ = group.daemon.Close()
		return err
	}
	if confined {
		group.daemon.Confine()
	}
	ended := running.wait()
	c.process.signals.passTo(nil)
	c.process.stop() // the next signal ends what is waited for now
	if err := group.daemon.Shutdown(); err != nil {
		options.Logger.Warn("at the end", "error", err)
	}
	return ended
}

// start starts a program that gets the signals of this process from now on.
func (c *call) start(path string, args, environment []string) (*program, error) {
	var running *program
	begun := make(chan struct{})
	c.process.signals.passTo(func(s os.Signal) { // what comes too early is passed on as well
		if <-begun; running != nil {
			running.signal(s)
		}
	}, passedSignals(c.has("log-file"))...)
	defer close(begun)
	var err error
	if running, err = startProgram(path, args, environment); err != nil {
		return nil, cannotRun(c.args[0], err)
	}
	return running, nil
}

// readRunPlan has the flags of sp run fill configurations: one of all inlets, and one for each
// outlet, since all outlets of a process are one node, which is asked for by any of its names.
func readRunPlan(c *call) ([]member, error) {
	if len(c.args) == 0 {
		return nil, c.unclear("no command to run: what goes behind --?")
	}
	ticket, err := validTicket(c.text("ticket"), c.stdin)
	if err != nil {
		return nil, err
	}
	var names config.Names
	to, err := names.Parse("to", c.list("to"), "ROUTE", ticket != nil)
	if err != nil {
		return nil, err
	}
	serve, err := names.Parse("serve", c.list("serve"), "TARGET", false)
	switch reachable := c.has("listen") || c.has("relay"); {
	case err != nil:
		return nil, err
	case len(to)+len(serve) == 0:
		return nil, c.unclear("neither --to nor --serve: run it with what?")
	case len(serve) > 0 && !reachable:
		return nil, usage("--serve stands without --relay or --listen: nobody could reach the outlet")
	case len(serve) == 0 && c.given["listen"]+c.given["relay"] > 0: // others have these variables too
		return nil, usage("--listen and --relay are of --serve, which is missing")
	case ticket != nil && len(to) == 0:
		return nil, usage("--ticket is of --to, which is missing: --to NAME leads where the ticket says")
	}
	var all []member
	if len(to) > 0 {
		inlets, err := runInlets(c, to, ticket)
		if err != nil {
			return nil, err
		}
		all = append(all, inlets)
	}
	for _, s := range serve {
		outlet, err := runOutletOf(c, s, len(serve) == 1)
		if err != nil {
			return nil, err
		}
		all = append(all, outlet)
	}
	return all, nil
}

// unclear is a usage error that says how the command is used.
func (c *call) unclear(text string) error {
	return usageWithHint(firstUsage(c.flags.Command), "%s", text)
}

// runOutletOf is the configuration of an outlet of sp run, which may be the only one.
func runOutletOf(c *call, s config.Named, only bool) (member, error) {
	out := config.Outlet{Entrance: entranceConfig(c), Target: s.Value}
	out.Name = s.Name
	all := member{
		name: s.Name, names: []string{s.Name},
		config: config.Config{Node: nodeConfig(c), Outlets: []config.Outlet{out}},
	}
	if s.Value == config.Stdio {
		return all, usage("--serve %s=%s: stdin and stdout are the command's", s.Name, s.Value)
	}
	if err := all.config.Validate(); err != nil {
		return all, ofServe(err, s)
	}
	for _, listen := range out.Listens() {
		if a, err := config.ParseListen(listen); err == nil && !transport.IsFreePort(a) && !only {
			return all, usage("--listen %s: of several outlets one can listen there: take port 0, "+
				"or --relay", listen)
		}
	}
	return all, nil
}

// ofServe returns an error of an outlet's configuration as one of what --serve says, where it is
// about the target, which no flag has here.
func ofServe(err error, s config.Named) error {
	f, ok := asField(err)
	if !ok || f.Field != "target" {
		return err
	}
	return usage("--serve %s=%s: %s", s.Name, s.Value, f.Describe(func(field string) string {
		if field == "target" {
			return "TARGET"
		}
		return spellFlag(field)
	}))
}

// runInlets is the configuration of the inlets of sp run.
func runInlets(c *call, to []config.Named, ticket *identity.Ticket) (member, error) {
	all := member{config: config.Config{Node: nodeConfig(c)}}
	if ticket != nil {
		all.config.Node.Ticket = ticket.String()
	}
	for _, n := range to {
		text := n.Value
		if n.Bare {
			text = ticket.Route()
		}
		to, text, err := readRoute(text, c.stdin)
		if err == nil {
			err = portal.CheckRoute(to)
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", n.Name, err)
		}
		all.names = append(all.names, n.Name)
		listen := loopbackFree
		if route.IsToDatagrams(to) {
			listen = udpPrefix + loopbackFree
		}
		all.config.Inlets = append(all.config.Inlets,
			config.Inlet{Listen: listen, To: []string{text}})
	}
	return all, all.config.Validate()
}

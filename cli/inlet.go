package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

func inletCommand() *cli.Command {
	return &cli.Command{
		Name:  "inlet",
		Usage: "listen where the client is, and carry each connection to an outlet",
		UsageText: "sp inlet --listen [HOST]:PORT --to ROUTE\n" +
			"sp inlet --listen unix:PATH --to ROUTE\n" +
			"sp inlet --listen - --to ROUTE            (stdin and stdout)\n" +
			"sp inlet --listen [HOST]:PORT --ticket TICKET",
		Description: "When the outlet has answered, the inlet prints the address where it listens, and nothing else.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "`WHERE` clients connect: [host]:port, unix:PATH or -; no host is loopback, port 0 a free one"},
			&cli.StringSliceFlag{Name: "to", Usage: "`ROUTE` to the outlet: host:port, name@relay:port, the long form, or - to read it from stdin; repeatable, the best first: a connection takes the first that is open"},
			&cli.StringFlag{Name: "ticket", Usage: "redeem this `TICKET`, or the one in a file, or on stdin (-): it says whom to trust, and where the outlet is unless --to does"},
			&cli.BoolFlag{Name: "no-wait", Usage: "fail at once if the outlet does not answer"},
		}, servingFlags()...),
		Action: need(runInlet, "listen"),
	}
}

func runInlet(c *cli.Context) error {
	if err := errors.Join(noArguments(c), checkDurations(c)); err != nil {
		return err
	}
	where, err := parsePlace(c.String("listen"), "127.0.0.1", true)
	if err != nil {
		return usage(c, "--listen: %w", err)
	}
	stdin := where.network == "stdio"
	ticket, err := readTicketFlag(c, stdin)
	if err != nil {
		return err
	}
	roads, err := readRoads(c, stdin || ticket != nil && c.String("ticket") == stdioText, ticket)
	if err != nil {
		return err
	}
	r, err := newRole(c, roleOptions{ticket: ticket})
	if err != nil {
		return err
	}
	defer r.node.Close()
	defer r.watch(!stdin)()
	if err := r.redeemTicket(c, roads, ticket); err != nil {
		return err
	}
	if where.network == "stdio" {
		return r.inletStdio(c, roads)
	}
	return r.inletListen(c, where, roads)
}

// redeemTicket shows the ticket, if there is one, before anything else is done. A far end that is not there yet is waited for
// later.
func (r *role) redeemTicket(c *cli.Context, roads []route.Route, ticket *identity.Ticket) error {
	if ticket == nil {
		return nil
	}
	err := r.tryRoads(c, roads)
	if errors.Is(err, trust.ErrNotTrusted) {
		return ticketRefused(err)
	}
	if err == nil {
		r.logger.Info("the ticket is redeemed, and not needed any more", "next time", nextTime(c, roads, ticket))
	}
	return nil
}

// nextTime is the command that does without the ticket.
func nextTime(c *cli.Context, roads []route.Route, ticket *identity.Ticket) string {
	command := "sp inlet --listen " + c.String("listen")
	for _, road := range roads {
		command += " --to " + route.Format(road)
	}
	return command + " --allow " + ticket.Issuer().String()
}

// readRoads reads all that --to gives, or else takes the ticket's route.
func readRoads(c *cli.Context, stdinTaken bool, ticket *identity.Ticket) ([]route.Route, error) {
	texts := c.StringSlice("to")
	switch {
	case len(texts) > 0:
	case ticket == nil:
		return nil, usage(c, "neither --to nor --ticket: where is the outlet?")
	default:
		to, err := route.Parse(ticket.Route())
		if err == nil {
			err = portal.CheckRoute(to)
		}
		return []route.Route{to}, err
	}
	var roads []route.Route
	for _, text := range texts {
		to, err := readRoute(c, text, stdinTaken)
		if err != nil {
			return nil, err
		}
		if err := portal.CheckRoute(to); err != nil {
			return nil, err
		}
		stdinTaken = stdinTaken || strings.HasPrefix(text, stdioText)
		roads = append(roads, to)
	}
	return roads, nil
}

// readRoute reads a route from text, or from stdin where text begins with a dash.
func readRoute(c *cli.Context, text string, stdinTaken bool) (route.Route, error) {
	if rest, ok := strings.CutPrefix(text, stdioText); ok {
		if stdinTaken {
			return nil, usage(c, "stdin cannot be both the connection and the route")
		}
		said, err := readAllText(c.App.Reader)
		if err != nil {
			return nil, fmt.Errorf("reading the route: %w", err)
		}
		text = strings.TrimSpace(said) + rest
	}
	return route.Parse(text)
}

// keep keeps the roads open, until the returned function is called.
func (r *role) keep(ctx context.Context, to []route.Route) (*route.Failover, func()) {
	roads := r.node.NewFailover(to)
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	tasks.Go(func() { roads.Run(ctx) })
	return roads, func() {
		cancel()
		tasks.Wait()
	}
}

// probe asks with --no-wait whether any of the roads leads to the service, and returns why the first does not.
func (r *role) probe(c *cli.Context, to []route.Route) error {
	if !c.Bool("no-wait") {
		return nil
	}
	return r.tryRoads(c, to)
}

// tryRoads asks whether any of the roads leads to the service, and returns why the first does not.
func (r *role) tryRoads(c *cli.Context, to []route.Route) error {
	var first error
	for _, road := range to {
		ctx, cancel := timeoutContext(c)
		err := r.node.Probe(ctx, road)
		cancel()
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (r *role) inlet(c *cli.Context, roads *route.Failover) *portal.Inlet {
	return &portal.Inlet{
		Open: func(ctx context.Context, client []byte) (*route.Stream, error) {
			return roads.OpenWith(ctx, wire.Lazy, client)
		},
		Begin:          r.node.Begin,
		ConnectTimeout: c.Duration("connect-timeout"),
		Logger:         r.logger,
	}
}

// inletListen is an inlet with a listener: until a signal, and then until its connections have finished.
func (r *role) inletListen(c *cli.Context, where place, to []route.Route) error {
	l, err := where.listen(c.Context, netio.GuardedListenConfig())
	if err != nil {
		return err
	}
	defer l.Close()
	if err := r.probe(c, to); err != nil {
		return err
	}
	// The roads outlive the signal: connections that are still open need them.
	working, stop := context.WithCancel(context.Background())
	defer stop()
	roads, stopKeeping := r.keep(working, to)
	defer stopKeeping()
	var serving sync.WaitGroup
	defer serving.Wait()
	r.upkeep(c, working, &serving)
	serving.Go(func() { r.inlet(c, roads).Serve(c.Context, working, l) })
	if roads.Await(c.Context) == nil {
		ready(c, describe(l))
	}
	<-c.Context.Done()
	err = r.drain(c)
	stop()
	return err
}

// inletStdio is an inlet for the one connection that is stdin and stdout: until it has ended, or has had its time after a
// signal. That it was not carried to its end is an error, for who reads stdout cannot tell.
func (r *role) inletStdio(c *cli.Context, to []route.Route) error {
	if err := r.probe(c, to); err != nil {
		return err
	}
	working, stop := context.WithCancel(context.Background())
	defer stop()
	roads, stopKeeping := r.keep(working, to)
	defer stopKeeping()
	if roads.Await(c.Context) != nil {
		return errStopped
	}
	carried := make(chan error, 1)
	go func() { carried <- r.inlet(c, roads).Carry(working, newStdio(c.App.Reader, c.App.Writer)) }()
	select {
	case err := <-carried:
		return err
	case <-c.Context.Done():
	}
	if err := r.drain(c); err != nil {
		return err
	}
	select {
	case err := <-carried: // a write that stdout does not take is not waited for
		if err == nil {
			return nil
		}
	case <-time.After(stdioGrace):
	}
	return errStopped
}

// stdioGrace is for how long stdin and stdout are waited for once their connection has ended.
const stdioGrace = time.Second

var errStopped = errors.New("stopped by a signal before the connection had ended")

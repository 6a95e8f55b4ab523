package cli

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/filewatch"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// role is what a command that is a node works with.
type role struct {
	config   route.Config
	node     *route.Node
	self     *identity.Identity // as it was at the start
	shown    *shown
	trust    trust.Config    // of the node
	policies []*trust.Policy // of all nodes of this process
	nodes    []*route.Node
	logger   *slog.Logger
}

// roleOptions are what the commands' nodes do not have in common.
type roleOptions struct {
	forward func(wire.Address) bool  // see route.Config
	redeem  func(route string) error // nil: no tickets; else whether one is for here, if there is an allow file
	ticket  *identity.Ticket         // to show

	forAnybody bool // the node carries connections for whoever comes
}

// newRole makes the node that the flags describe.
func newRole(c *cli.Context, o roleOptions) (*role, error) {
	logger, err := newLogger(c, c.App.ErrWriter)
	if err != nil {
		return nil, err
	}
	if err := checkLimits(c); err != nil {
		return nil, err
	}
	suites, err := parseSuites(c)
	if err != nil {
		return nil, err
	}
	trust, err := trustConfig(c, logger)
	if err != nil {
		return nil, err
	}
	self, path, err := loadIdentity(c, logger)
	if err != nil {
		return nil, err
	}
	if err := seeSelf(trust.Known, self, logger); err != nil {
		return nil, err
	}
	shown, err := newShown(self, path, c.StringSlice("credential"), logger)
	if err != nil {
		return nil, err
	}
	r := &role{self: self, shown: shown, trust: trust, logger: logger}
	policy, err := r.newTrust(o)
	if err != nil {
		return nil, err
	}
	r.config = route.Config{
		Channel: channel.Config{
			Identity: self, Current: shown.identity, Credentials: shown.show, Ticket: showTicket(o.ticket),
			Trust: policy, Suites: suites, Keepalive: c.Duration("keepalive"),
			SessionsPerIdentity: c.Int("max-sessions"),
		},
		Forward: o.forward, ConnectTimeout: c.Duration("connect-timeout"), Limits: limits(c, o.forAnybody), Logger: logger,
		Hint: hintFor,
	}
	r.node, err = r.newNode(r.config, policy)
	return r, err
}

// newTrust makes the policy of the role's node from what the flags say.
func (r *role) newTrust(o roleOptions) (*trust.Policy, error) {
	r.trust.Self = r.self.Identifier()
	if o.ticket != nil {
		r.trust.Allow = append(r.trust.Allow, o.ticket.Issuer())
	}
	if o.redeem != nil && len(r.trust.AllowFiles) > 0 {
		r.trust.TicketRoute = o.redeem
		r.trust.TicketIssuer = func() *identity.History { return r.shown.identity().History() }
	}
	return newPolicy(r.trust)
}

// newNode makes a node whose trust and proofs are kept up to date.
func (r *role) newNode(config route.Config, policy *trust.Policy) (*route.Node, error) {
	node, err := route.NewNode(config)
	if err != nil {
		return nil, err
	}
	r.policies, r.nodes = append(r.policies, policy), append(r.nodes, node)
	return node, nil
}

// watch keeps a role's files and what was read from them the same, until the returned function is called: it looks at
// them several times a second, and on SIGHUP, if hangup is set, reads them all.
func (r *role) watch(hangup bool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	if hangup {
		signal.Notify(signals, syscall.SIGHUP)
	}
	var task sync.WaitGroup
	task.Go(func() { r.watchFiles(ctx, signals) })
	return func() {
		signal.Stop(signals)
		cancel()
		task.Wait()
	}
}

func (r *role) watchFiles(ctx context.Context, hangup <-chan os.Signal) {
	ticker := time.NewTicker(filewatch.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			r.logger.Info("reading all files again")
			r.reread((*trust.Policy).Reload, true)
		case <-ticker.C:
			r.reread((*trust.Policy).Poll, false)
		}
	}
}

// reread reads the lists, and what this side shows of itself, which the far ends hear of at once.
func (r *role) reread(lists func(*trust.Policy) error, all bool) {
	for _, p := range r.policies {
		before := p.Changed()
		if err := lists(p); err != nil {
			for _, line := range lines(err) {
				r.logger.Error("list not read", "error", line)
			}
		}
		select {
		case <-before:
			r.logger.Info("the lists have changed")
		default:
		}
	}
	if r.shown.refresh(all) {
		if err := seeSelf(r.trust.Known, r.shown.identity(), r.logger); err != nil {
			r.logger.Error("own key", "error", err)
		}
		for _, n := range r.nodes {
			n.Renew()
		}
	}
}

// lines takes joined errors apart.
func lines(err error) []string { return strings.Split(err.Error(), "\n") }

// serve runs a role that links come in to, until a signal: it listens if where is given, registers with relays if that
// is asked for, says the line that ready makes, and drains at the end.
func (r *role) serve(c *cli.Context, where place, line func(net.Listener) string) error {
	registrars, closeDialer, err := r.registrars(c)
	if err != nil {
		return err
	}
	defer closeDialer()
	defer r.watch(true)()
	var l net.Listener
	if where != (place{}) {
		if l, err = where.listen(c.Context, netio.ListenConfig()); err != nil {
			return err
		}
		defer l.Close()
	}
	if err := claimOnce(c, registrars); err != nil {
		return err
	}
	r.node.HandleBasics()
	working, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	defer serving.Wait()
	defer stop()
	if l != nil {
		serving.Go(func() { r.node.Serve(c.Context, l) })
	}
	announce := sync.OnceFunc(func() { ready(c, line(l)) })
	if l != nil {
		announce()
	}
	r.upkeep(c, working, &serving)
	for _, g := range registrars {
		g.Registered = announce
		serving.Go(func() { g.Run(working) })
	}
	<-c.Context.Done()
	return r.drain(c)
}

// upkeep gives memory back until the role is told to stop, and feeds the watchdog until working ends: what drains lives.
func (r *role) upkeep(c *cli.Context, working context.Context, tasks *sync.WaitGroup) {
	tasks.Go(func() { giveBack(c.Context, r.node.Turnover) })
	tasks.Go(func() { feedWatchdog(working) })
}

// drain waits for what is open, as long as --drain says, and closes the node.
func (r *role) drain(c *cli.Context) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Duration("drain"))
	defer cancel()
	stopping()
	r.logger.Info("stopping, and waiting for open connections", "for", c.Duration("drain"))
	return r.node.Shutdown(ctx)
}

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/noise"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// Categories of flags in the help.
const (
	whoCategory  = "Who"
	timeCategory = "Times"
	logCategory  = "Logs"
)

const defaultDrain = 30 * time.Second

// nodeFlags are those of every command that is a node.
func nodeFlags() []cli.Flag {
	return append(trustFlags(), []cli.Flag{
		&cli.StringFlag{
			Name: "identity", EnvVars: []string{"SP_IDENTITY"}, Category: whoCategory, TakesFile: true,
			Usage: "this side's key `FILE`; made on first use", DefaultText: "identity in the user's configuration, under sp",
		},
		&cli.StringSliceFlag{
			Name: "suite", Category: whoCategory,
			Usage: "accept this Noise `SUITE` and no other; repeatable; the first is what this side proposes",
		},
		&cli.DurationFlag{
			Name: "connect-timeout", Value: route.DefaultConnectTimeout, Category: timeCategory,
			Usage: "how long to wait for a connection to be made",
		},
		&cli.DurationFlag{
			Name: "keepalive", Value: channel.DefaultKeepalive, Category: timeCategory,
			Usage: "time between two pings of the whole way to the far end; three without an answer end a session",
		},
		&cli.StringFlag{Name: "log-format", Value: "text", Category: logCategory, Usage: "`FORMAT` of the log on stderr: text or json"},
		&cli.StringFlag{Name: "log-level", Value: "info", Category: logCategory, Usage: "least `LEVEL` that is logged: debug, info, warn or error"},
	}...)
}

// servingFlags are those of the roles that run until a signal.
func servingFlags() []cli.Flag {
	return append(append([]cli.Flag{drainFlag()}, limitFlags()...), nodeFlags()...)
}

func drainFlag() cli.Flag {
	return &cli.DurationFlag{
		Name: "drain", Value: defaultDrain, Category: timeCategory,
		Usage: "how long open connections may take to finish after SIGTERM or SIGINT",
	}
}

// newLogger returns the logger that the flags ask for.
func newLogger(c *cli.Context, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, usage(c, "--log-level %q is not debug, info, warn or error", c.String("log-level"))
	}
	options := &slog.HandlerOptions{Level: level}
	switch c.String("log-format") {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usage(c, "--log-format %q is not text or json", c.String("log-format"))
}

// role is what a command that is a node works with.
type role struct {
	config   route.Config
	node     *route.Node
	self     *identity.Identity // as it was at the start
	shown    *shown
	trust    identity.PolicyConfig // of the node
	policies []*identity.Policy    // of all nodes of this process
	nodes    []*route.Node
	logger   *slog.Logger
}

// roleOptions are what the commands' nodes do not have in common.
type roleOptions struct {
	forward func(wire.Address) bool  // see route.Config
	redeem  func(route string) error // nil: no tickets; else whether one is for here, if there is an allow file
	ticket  *identity.Ticket         // to show
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
	if err := seeSelf(trust.Seen, self, logger); err != nil {
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
		Forward: o.forward, ConnectTimeout: c.Duration("connect-timeout"), Limits: limits(c), Logger: logger,
		Hint: hintFor,
	}
	r.node, err = r.newNode(r.config, policy)
	return r, err
}

// newTrust makes the policy of the role's node from what the flags say.
func (r *role) newTrust(o roleOptions) (*identity.Policy, error) {
	r.trust.Self = r.self.Identifier()
	if o.ticket != nil {
		r.trust.Allow = append(r.trust.Allow, o.ticket.Issuer())
	}
	if o.redeem != nil && len(r.trust.AllowFiles) > 0 {
		r.trust.TicketRoute = o.redeem
		r.trust.Tickets = func() *identity.History { return r.shown.identity().History() }
	}
	return newPolicy(r.trust)
}

// newNode makes a node whose trust and proofs are kept up to date.
func (r *role) newNode(config route.Config, policy *identity.Policy) (*route.Node, error) {
	node, err := route.NewNode(config)
	if err != nil {
		return nil, err
	}
	r.policies, r.nodes = append(r.policies, policy), append(r.nodes, node)
	return node, nil
}

// keyPath returns the key file that --identity names, or the default one.
func keyPath(c *cli.Context) (string, error) {
	if path := c.String("identity"); path != "" {
		return path, nil
	}
	return identity.DefaultPath()
}

// loadIdentity loads this side's key file, and makes it if it is not there. It returns which it was.
func loadIdentity(c *cli.Context, logger *slog.Logger) (*identity.Identity, string, error) {
	path, err := keyPath(c)
	if err != nil {
		return nil, "", err
	}
	if c.String("identity") != "" { // a folder that is not there is a slip of the pen, and not where a key should go
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return nil, "", withHint(fmt.Errorf("identity file %s: %w", path, err), "make the folder first, if that is the file you mean")
		}
	}
	id, created, err := identity.LoadOrCreate(path)
	if err != nil {
		return nil, "", err
	}
	if created {
		logger.Info("made a new identity", "file", path, "identifier", id.Identifier())
	}
	return id, path, nil
}

func parseSuites(c *cli.Context) ([]noise.Suite, error) {
	var all []noise.Suite
	for _, name := range c.StringSlice("suite") {
		s, err := noise.ParseSuite(name)
		if err != nil {
			return nil, withHint(usage(c, "--suite %q: %w", name, err), "one of %v", noise.Suites())
		}
		all = append(all, s)
	}
	return all, nil
}

// checkDurations refuses flags that would make something wait for ever or not at all.
func checkDurations(c *cli.Context, names ...string) error {
	for _, name := range names {
		if d := c.Duration(name); d <= 0 {
			return usage(c, "--%s %v is not a time to wait", name, d)
		}
	}
	return nil
}

// say prints the one line that a role prints when it is ready.
func say(c *cli.Context, format string, args ...any) {
	fmt.Fprintf(c.App.Writer, format+"\n", args...)
}

// timeoutContext returns a context that ends with the command's or after --connect-timeout.
func timeoutContext(c *cli.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.Context, c.Duration("connect-timeout"))
}

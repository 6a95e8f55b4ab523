package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
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
	return []cli.Flag{
		&cli.StringFlag{
			Name: "identity", EnvVars: []string{"SP_IDENTITY"}, Category: whoCategory, TakesFile: true,
			Usage: "this side's key `FILE`; made on first use", DefaultText: "identity in the user's configuration, under sp",
		},
		&cli.StringSliceFlag{
			Name: "allow", Category: whoCategory,
			Usage: "trust the far end with this `IDENTIFIER`; repeatable; without it, only this side's own",
		},
		&cli.BoolFlag{Name: "allow-anyone", Category: whoCategory, Usage: "trust whoever is at the far end"},
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
	}
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
	config route.Config
	node   *route.Node
	self   *identity.Identity
	logger *slog.Logger
}

// newRole makes the node that the flags describe.
func newRole(c *cli.Context, forward func(wire.Address) bool) (*role, error) {
	logger, err := newLogger(c, c.App.ErrWriter)
	if err != nil {
		return nil, err
	}
	suites, err := parseSuites(c)
	if err != nil {
		return nil, err
	}
	allow, err := parseIdentifiers(c, "allow")
	if err != nil {
		return nil, err
	}
	self, err := loadIdentity(c.String("identity"), logger)
	if err != nil {
		return nil, err
	}
	trust, err := identity.NewPolicy(identity.PolicyConfig{
		Self: self.Identifier(), Allow: allow, AllowAnyone: c.Bool("allow-anyone"),
	})
	if err != nil {
		return nil, err
	}
	config := route.Config{
		Channel: channel.Config{
			Identity: self, Trust: trust, Suites: suites, Keepalive: c.Duration("keepalive"),
		},
		Forward: forward, ConnectTimeout: c.Duration("connect-timeout"), Logger: logger,
	}
	node, err := route.NewNode(config)
	if err != nil {
		return nil, err
	}
	return &role{config, node, self, logger}, nil
}

// loadIdentity loads the key file at path, or the default one, and makes it if it is not there.
func loadIdentity(path string, logger *slog.Logger) (*identity.Identity, error) {
	if path == "" {
		var err error
		if path, err = identity.DefaultPath(); err != nil {
			return nil, err
		}
	}
	id, created, err := identity.LoadOrCreate(path)
	if err != nil {
		return nil, err
	}
	if created {
		logger.Info("made a new identity", "file", path, "identifier", id.Identifier())
	}
	return id, nil
}

func parseIdentifiers(c *cli.Context, flag string) ([]identity.Identifier, error) {
	var all []identity.Identifier
	for _, text := range c.StringSlice(flag) {
		id, err := identity.ParseIdentifier(text)
		if err != nil {
			return nil, usage(c, "--%s %q: %w", flag, text, err)
		}
		all = append(all, id)
	}
	return all, nil
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

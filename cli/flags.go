package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/noise"
	"github.com/secureportal/sp/route"
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
func checkDurations(c *cli.Context) error {
	for _, f := range c.Command.Flags {
		f, ok := f.(*cli.DurationFlag)
		if !ok {
			continue
		}
		d := c.Duration(f.Name)
		if d < 0 || d == 0 && !slices.Contains(mayBeZero, f.Name) {
			return usage(c, "--%s %v is not a time to wait", f.Name, d)
		}
	}
	return nil
}

// mayBeZero are the flags for times that need not be waited.
var mayBeZero = []string{"drain", "interval"}

// say prints a line of results.
func say(c *cli.Context, format string, args ...any) {
	fmt.Fprintf(c.App.Writer, format+"\n", args...)
}

// timeoutContext returns a context that ends with the command's or after --connect-timeout.
func timeoutContext(c *cli.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.Context, c.Duration("connect-timeout"))
}

// Command sp makes a TCP service reachable where it is not, and lets nobody in between read, change, cut short or
// impersonate it.
//
//	app ── TCP ──▶ sp inlet ──link──▶ sp relay ──link──▶ sp outlet ── TCP ──▶ service
//	                    └────────── secure channel, end to end ──────────┘
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"
)

// Set by the linker in a release.
var (
	version = "dev"
	commit  = ""
)

func main() {
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run runs one command and returns its exit code. Whatever it has to say about an error is on stderr by then.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() { // lives as long as the process
		<-signals
		cancel()
		<-signals // a second signal ends the process at once
		os.Exit(exitFailed)
	}()
	app := newApp(stdin, stdout, stderr)
	app.Metadata = map[string]any{argumentsKey: args}
	return report(stderr, app.RunContext(ctx, args))
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintln(c.App.Writer, versionLine()) }
	app := &cli.App{
		Name:      "sp",
		Usage:     "make a TCP service reachable where it is not, with nobody in between to trust",
		Version:   version,
		Reader:    stdin,
		Writer:    stdout,
		ErrWriter: stderr,
		Commands: []*cli.Command{
			inletCommand(),
			outletCommand(),
			relayCommand(),
			bridgeCommand(),
			identityCommand(),
			credentialCommand(),
			ticketCommand(),
			sendCommand(),
			pingCommand(),
			traceCommand(),
			routeCommand(),
		},
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // run reports errors
		Action:                    needCommand,
		Description:               exitCodesHelp,
	}
	app.OnUsageError = onUsageError
	for _, c := range app.Commands {
		finish(c)
	}
	return app
}

// finish gives c and its subcommands what all commands have in common.
func finish(c *cli.Command) {
	c.OnUsageError = onUsageError
	c.HideHelpCommand = true
	c.Before = refuseRepeated
	if c.Action == nil {
		c.Action = needCommand
	}
	for _, sub := range c.Subcommands {
		finish(sub)
	}
}

// onUsageError is for what the flag parser does not take.
func onUsageError(c *cli.Context, err error, _ bool) error {
	return usage(c, "%w", err)
}

// needCommand is the action where a subcommand is missing or not known.
func needCommand(c *cli.Context) error {
	if c.Args().Present() {
		return usage(c, "no command %q", c.Args().First())
	}
	return usage(c, "a command is missing")
}

// need is the action with flags that must be there. The flag parser's own check would print the help on stdout.
func need(action cli.ActionFunc, flags ...string) cli.ActionFunc {
	return func(c *cli.Context) error {
		for _, name := range flags {
			if !c.IsSet(name) {
				return usage(c, "--%s is missing", name)
			}
		}
		return action(c)
	}
}

// noArguments refuses arguments that are no flags.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usage(c, "unexpected argument %q", c.Args().First())
	}
	return nil
}

func versionLine() string {
	hash := commit
	if hash == "" {
		hash = vcsRevision()
	}
	return fmt.Sprintf("sp %s (commit %s, %s %s/%s)", version, hash, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func vcsRevision() string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

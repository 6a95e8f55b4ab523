// Package cli is the command sp: its commands, flags, exit codes, and what it prints.
//
// It alone knows urfave/cli, writes to stdout and stderr, and decides how a process ends. A
// command reads its flags into plain values, most often a configuration, and has others do the
// work.
package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/internal/handed"
	"github.com/secureportal/sp/internal/linequeue"
)

// Build says which build of sp this is. The zero value is one that nobody has released.
type Build struct {
	Version string // empty means "dev"
	Commit  string // empty means what the Go toolchain has noted
}

// Main runs one command and returns its exit code. Whatever it has to say about an error is on
// stderr by then, if anybody reads that. It takes over the process's signals, and ends the process
// at the second one. It closes stdout if that is a file.
func Main(build Build, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	handed.Take()
	if isPeers(stdin, stderr) {
		stderr = io.Discard
	}
	quietLibraries()
	return perform(build, args, stdin, stdout, stderr, nil)
}

// perform is Main for a process that is set up. What comes from signalsFrom, if that is not nil, is
// as if the process had got it.
func perform(
	build Build, args []string, stdin io.Reader, stdout, stderr io.Writer,
	signalsFrom <-chan os.Signal,
) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	log := linequeue.New(shared(stderr), linequeue.Config{})
	out := &results{w: shared(stdout), stop: stop}
	signals := watchSignals(ctx, signalsFrom, stop, func() {
		fmt.Fprintln(insisting{log}, "sp: a second signal: what is open is cut")
		log.Close(lastWords)
		os.Exit(exitFailed)
	})
	defer signals.unwatch()
	app := newApp(build, shared(stdin), out, log)
	this := &process{
		stop: stop, out: out, terminal: isTerminal(stderr), screen: isTerminal(stdout),
		signals: signals, args: args, inBackground: isInBackground(),
		again: func(words []string, stdout, stderr io.Writer, signals <-chan os.Signal) int {
			line := append([]string{args[0]}, words...)
			return perform(build, line, strings.NewReader(""), stdout, stderr, signals)
		},
	}
	app.Metadata[processKey] = this
	err := out.close(runApp(ctx, app, args))
	this.end()
	code := report(insisting{log}, err)
	log.Close(lastWords)
	this.vanish()
	switch {
	case isReaderGone(err):
		endByBrokenPipe()
	case isInterrupted(err):
		endByInterrupt()
	}
	return code
}

// process is what commands know of the process that they run in.
type process struct {
	stop     func() // ends the command's context
	out      *results
	terminal bool     // stderr is one, and somebody may sit there
	screen   bool     // so is stdout
	atEnd    []func() // what is to be done when the command has ended
	atLast   []func() // and when there is nothing more in its log
	signals  *signalWatch
	args     []string // its command line

	inBackground bool // it is the other process of --background

	// again performs another command line in this process, with streams of its own.
	again performer
}

// end does what is to be done at the end, what has come last first.
func (p *process) end() { inReverse(p.atEnd) }

// vanish does what shows others that the process is at its end.
func (p *process) vanish() { inReverse(p.atLast) }

func inReverse(all []func()) {
	for _, do := range slices.Backward(all) {
		do()
	}
}

// processKey is where an app has it.
const processKey = "process"

func newApp(build Build, stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:      programName,
		HelpName:  programName,
		Usage:     "make a TCP service reachable where it is not, with nobody in between to trust",
		Version:   build.version(),
		Reader:    stdin,
		Writer:    stdout,
		ErrWriter: stderr,
		Commands: []*cli.Command{
			inletCommand(),
			outletCommand(),
			relayCommand(),
			bridgeCommand(),
			runCommand(),
			waitCommand(),
			upCommand(),
			checkCommand(),
			configCommand(),
			serviceCommand(),
			identityCommand(),
			credentialCommand(),
			pairCommand(),
			ticketCommand(),
			sendCommand(),
			pingCommand(),
			traceCommand(),
			routeCommand(),
			doctorCommand(),
			benchCommand(),
			statusCommand(),
			completionCommand(),
			manCommand(),
			helpCommand(),
			versionCommand(build),
		},
		Flags:       []cli.Flag{cli.HelpFlag, cli.VersionFlag},
		Action:      needCommand,
		Description: helpHelp + "\n\n" + environmentHelp + "\n\n" + exitCodesHelp,
		Metadata:    make(map[string]any),
	}
	for _, c := range app.Commands {
		finish(app.Name, c)
	}
	return app
}

// programName is the word that each command line begins with.
const programName = "sp"

// finish gives c and its subcommands what all commands have in common. before are the words that
// stand before its name.
func finish(before string, c *cli.Command) {
	c.HelpName = before + " " + c.Name
	for _, f := range c.Flags {
		readEnvironment(f)
	}
	if c.Action == nil {
		c.Action = needCommand
	}
	for _, sub := range c.Subcommands {
		finish(c.HelpName, sub)
	}
}

// checkFlags refuses what no command wants of its flags.
func checkFlags(c *cli.Context) error {
	given, _ := c.App.Metadata[givenKey].(map[string]int)
	err := refuseDuplicates(c.Command.Flags, given)
	if err == nil {
		err = checkNumbers(c)
	}
	return inCommand(c, err)
}

// action makes what the flag parser calls of a command's function. The flags in needed must be
// there: the parser's own check would print the help on stdout.
func action(run func(*call) error, needed ...string) cli.ActionFunc {
	return func(c *cli.Context) error {
		call := newCall(c)
		if err := refuseStray(call, needed); err != nil {
			return inCommand(c, err)
		}
		for _, name := range needed {
			if !call.has(name) && !call.hasInstead(name) {
				return inCommand(c, missing(call, name))
			}
		}
		if call.goesToBackground() {
			return inCommand(c, runInBackground(call))
		}
		return inCommand(c, run(call))
	}
}

func (b Build) version() string { return cmp.Or(b.Version, "dev") }

// String is the line that --version prints.
func (b Build) String() string {
	return fmt.Sprintf("sp %s (commit %s, %s %s/%s)",
		b.version(), cmp.Or(b.Commit, vcsRevision()), runtime.Version(), runtime.GOOS, runtime.GOARCH)
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

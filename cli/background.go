package cli

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route/transport"
)

// A Go program cannot fork: one that is to go on in the background is another process, with the
// same command line. What it prints on stdout are the lines that say that it is ready, and an empty
// one behind them.

// backgroundVariable tells a process that it is the one in the background. No flag has it.
const backgroundVariable = "_SP_IN_BACKGROUND"

// isInBackground tells whether this process is the one in the background. Its own children are not.
func isInBackground() bool {
	_, is := os.LookupEnv(backgroundVariable)
	_ = os.Unsetenv(backgroundVariable)
	return is
}

// goesToBackground tells whether a command is to be run by another process.
func (c *call) goesToBackground() bool {
	return flagOf(c.flags.Command, "background") != nil && c.yes("background") &&
		!c.process.inBackground
}

// runInBackground starts the command in another process, and returns when that is ready, or why it
// is not.
func runInBackground(c *call) error {
	for _, flag := range []string{"listen", "target"} {
		if flagOf(c.flags.Command, flag) != nil && c.says(flag, config.Stdio) {
			return usage("--background and --%s - do not go together: its connection is here", flag)
		}
	}
	for _, at := range listensAt(c) {
		if a, err := config.ParseListen(at); err == nil && transport.IsHanded(a) {
			return usage("--background and --listen %s do not go together: what it was handed is this "+
				"process's", at)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, c.process.args[1:]...)
	cmd.Env = append(os.Environ(), backgroundVariable+"=")
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, backgroundAttributes()
	if c.readsStdin() {
		cmd.Stdin = os.Stdin
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	notIgnored()
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := make(chan []string, 1)
	go func() { lines <- readyLines(out) }() // it ends with this process, or the other
	select {
	case all := <-lines:
		if all == nil {
			return backgroundEnd(cmd.Wait())
		}
		say(c.stdout, "%s", strings.Join(all, "\n"))
		return cmd.Process.Release()
	case <-c.ctx.Done():
	}
	if cmd.Process.Signal(syscall.SIGTERM) != nil {
		_ = cmd.Process.Kill()
	}
	_ = cmd.Wait()
	return c.process.signals.ended()
}

// readyLines reads the lines that say that a process is ready. It returns nil if that has ended
// before.
func readyLines(from io.Reader) (all []string) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLifeFile)
	for lines.Scan() {
		if lines.Text() == "" {
			return all
		}
		all = append(all, lines.Text())
	}
	return nil
}

// listensAt is what --listen says, of a command that has it once or repeatedly.
func listensAt(c *call) []string {
	switch flagOf(c.flags.Command, "listen").(type) {
	case *cli.StringFlag:
		return []string{c.text("listen")}
	case *listFlag:
		return c.list("listen")
	}
	return nil
}

// readsStdin tells whether what the command needs is on stdin.
func (c *call) readsStdin() bool {
	isStdin := func(text string) bool { return strings.HasPrefix(text, fromStdin) }
	for _, flag := range []string{"to", "ticket"} {
		if f := flagOf(c.flags.Command, flag); f != nil &&
			(isStdin(c.text(flag)) || slices.ContainsFunc(c.list(flag), isStdin)) {
			return true
		}
	}
	return false
}

// backgroundEnd is the end of a process that has not become ready, as its own.
func backgroundEnd(err error) error {
	end := &commandEnd{code: exitFailed}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if code := exit.ExitCode(); code > 0 {
			end.code = code
		}
	}
	return end
}

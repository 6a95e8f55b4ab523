package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/internal/shellword"
	"github.com/secureportal/sp/route"
)

const defaultMessageTimeout = 10 * time.Second

func toFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "to",
		Usage: "`ROUTE`: host:port, name@relay:port, a chain of these with / between, the long " +
			"form, or - to read it from stdin",
	}
}

func timeoutFlag(usage string) cli.Flag {
	return &cli.DurationFlag{
		Name: "timeout", Value: defaultMessageTimeout, Category: timeCategory, Usage: usage,
	}
}

// routeArgument takes the route from the argument where --to is missing.
func routeArgument(c *call) error {
	switch {
	case len(c.args) == 0 && c.has("to"):
		return nil
	case len(c.args) == 0:
		return missing(c, "to")
	case len(c.args) > 1:
		return usage("unexpected argument %q", c.args[1])
	case c.given["to"] > 0:
		return usage("both --to %s and %s: one route, please", c.text("to"), c.args[0])
	}
	return c.flags.Set("to", c.args[0])
}

// openTo reads the route that --to gives, and makes the node that opens it.
func openTo(c *call) (*route.Node, route.Route, error) {
	to, _, err := readRoute(c.text("to"), c.stdin)
	if err != nil {
		return nil, nil, err
	}
	options, err := daemonOptions(c)
	if err != nil {
		return nil, nil, err
	}
	node, err := daemon.OpenNode(nodeConfig(c), options)
	return node, to, err
}

func sendCommand() *cli.Command {
	return &cli.Command{
		Name:      "send",
		Usage:     "send a message to a service, and print its reply",
		UsageText: "sp send --to ROUTE [MESSAGE]      (without MESSAGE, stdin)",
		ArgsUsage: "[MESSAGE]",
		Flags: append([]cli.Flag{
			toFlag(), timeoutFlag("how long to wait for all of it"),
		}, nodeFlags(ownKeyText)...),
		Action: action(runSend, "to"),
	}
}

func runSend(c *call) error {
	if len(c.args) > 1 {
		return usage("more than one MESSAGE: is %s meant?",
			shellword.Quote(strings.Join(c.args, " ")))
	}
	var message io.Reader
	line := len(c.args) == 1
	if line {
		message = strings.NewReader(c.args[0])
	} else {
		message, _ = c.stdin.take("message") // it is the first
	}
	node, to, err := openTo(c)
	if err != nil {
		return err
	}
	defer node.Close()
	timeout := c.duration("timeout")
	ctx, cancel := context.WithTimeoutCause(c.ctx, timeout, noAnswer(timeout))
	defer cancel()
	return send(ctx, node, to, message, c.stdout, line)
}

// send sends message to what to leads to, and copies the reply to w, with a newline behind it if
// line is set. If ctx ends first, what reads message is left behind, for nothing ends a read of
// stdin.
func send(
	ctx context.Context, node *route.Node, to route.Route,
	message io.Reader, w io.Writer, line bool,
) error {
	s, err := node.Open(ctx, to, 0)
	if err != nil {
		return err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(s, message)
		sent <- errors.Join(err, s.CloseWrite())
	}()
	reply := &lastByte{w: w}
	_, err = io.Copy(reply, s)
	if err == nil {
		select {
		case err = <-sent:
		case <-ctx.Done():
		}
	}
	if err == nil && line && reply.last != '\n' {
		_, err = io.WriteString(w, "\n")
	}
	if ctx.Err() != nil {
		return fmt.Errorf("no reply: %w", context.Cause(ctx))
	}
	return err
}

// lastByte is a writer that remembers the last byte.
type lastByte struct {
	w    io.Writer
	last byte
}

func (l *lastByte) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.last = p[len(p)-1]
	}
	return l.w.Write(p)
}

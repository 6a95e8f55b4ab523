package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/route"
)

const defaultMessageTimeout = 10 * time.Second

func toFlag() cli.Flag {
	return &cli.StringFlag{Name: "to", Usage: "`ROUTE`: host:port, name@relay:port, the long form, or - to read it from stdin"}
}

func timeoutFlag() cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Value: defaultMessageTimeout, Category: timeCategory, Usage: "how long to wait for all of it"}
}

// roleTo reads the route that --to gives, and makes the node that opens it.
func roleTo(c *cli.Context, stdinTaken bool) (*role, route.Route, error) {
	to, err := readRoute(c, c.String("to"), stdinTaken)
	if err != nil {
		return nil, nil, err
	}
	r, err := newRole(c, roleOptions{})
	return r, to, err
}

func sendCommand() *cli.Command {
	return &cli.Command{
		Name:      "send",
		Usage:     "send a message to a service, and print its reply",
		UsageText: "sp send --to ROUTE [MESSAGE]      (without MESSAGE, stdin)",
		ArgsUsage: "[MESSAGE]",
		Flags:     append([]cli.Flag{toFlag(), timeoutFlag()}, nodeFlags()...),
		Action:    need(runSend, "to"),
	}
}

func runSend(c *cli.Context) error {
	if c.NArg() > 1 {
		return usage(c, "more than one MESSAGE; quote it")
	}
	if err := checkDurations(c); err != nil {
		return err
	}
	r, to, err := roleTo(c, c.NArg() == 0)
	if err != nil {
		return err
	}
	defer r.node.Close()
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	var message io.Reader = strings.NewReader(c.Args().First())
	if c.NArg() == 0 {
		message = c.App.Reader
	}
	return r.send(ctx, to, message, c.App.Writer, c.NArg() == 1)
}

// send sends message to what to leads to, and copies the reply to w, with a newline behind it if line is set. If ctx ends
// first, what reads message is left behind, for nothing ends a read of stdin.
func (r *role) send(ctx context.Context, to route.Route, message io.Reader, w io.Writer, line bool) error {
	s, err := r.node.Open(ctx, to, 0)
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

func pingCommand() *cli.Command {
	return &cli.Command{
		Name:      "ping",
		Usage:     "measure the round trip of a whole route",
		UsageText: "sp ping --to ROUTE [-c N]",
		Flags: append([]cli.Flag{
			toFlag(),
			&cli.IntFlag{Name: "count", Aliases: []string{"c"}, Value: 4, Usage: "how many `TIMES`"},
			&cli.DurationFlag{Name: "interval", Value: time.Second, Category: timeCategory, Usage: "time between two of them"},
			&cli.DurationFlag{Name: "timeout", Value: defaultMessageTimeout, Category: timeCategory, Usage: "how long to wait for each"},
		}, nodeFlags()...),
		Action: need(runPing, "to"),
	}
}

func runPing(c *cli.Context) error {
	if err := errors.Join(noArguments(c), checkDurations(c)); err != nil {
		return err
	}
	if c.Int("count") < 1 {
		return usage(c, "--count %d is not a number of times", c.Int("count"))
	}
	r, to, err := roleTo(c, false)
	if err != nil {
		return err
	}
	defer r.node.Close()
	var times []time.Duration
	for i := range c.Int("count") {
		if i > 0 && !sleep(c.Context, c.Duration("interval")) {
			break
		}
		d, err := r.pingOnce(c, to)
		if err != nil {
			return err
		}
		times = append(times, d)
		say(c, "%d: %s", i+1, milliseconds(d))
	}
	slices.Sort(times)
	if len(times) > 0 {
		say(c, "min %s, median %s, max %s", milliseconds(times[0]), milliseconds(times[len(times)/2]), milliseconds(times[len(times)-1]))
	}
	return nil
}

func (r *role) pingOnce(c *cli.Context, to route.Route) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	return r.node.Ping(ctx, to)
}

// sleep waits for d, and reports false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.3f ms", float64(d)/float64(time.Millisecond))
}

func traceCommand() *cli.Command {
	return &cli.Command{
		Name:      "trace",
		Usage:     "measure the round trip to each node of a route",
		UsageText: "sp trace --to ROUTE",
		Flags:     append([]cli.Flag{toFlag(), timeoutFlag()}, nodeFlags()...),
		Action:    need(runTrace, "to"),
	}
}

func runTrace(c *cli.Context) error {
	if err := errors.Join(noArguments(c), checkDurations(c)); err != nil {
		return err
	}
	r, to, err := roleTo(c, false)
	if err != nil {
		return err
	}
	defer r.node.Close()
	for i, hop := range route.Hops(to) {
		d, err := r.pingOnce(c, hop.Route)
		if err != nil {
			return err
		}
		say(c, "%d %s %s", i+1, hop.Where, milliseconds(d))
	}
	return nil
}

func routeCommand() *cli.Command {
	return &cli.Command{
		Name:      "route",
		Usage:     "print the long form of a route, and what happens at each step",
		ArgsUsage: "ROUTE",
		Action:    runRoute,
	}
}

func runRoute(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage(c, "one ROUTE, not %d", c.NArg())
	}
	r, err := readRoute(c, c.Args().First(), false)
	if err != nil {
		return err
	}
	say(c, "%s", route.Format(r))
	for i, a := range r {
		say(c, "%2d %s", i+1, route.Explain(a))
	}
	return nil
}

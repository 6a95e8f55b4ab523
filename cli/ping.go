package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/internal/pause"
	"github.com/secureportal/sp/route"
)

const (
	defaultPings        = 4
	defaultPingInterval = time.Second
)

func pingCommand() *cli.Command {
	return &cli.Command{
		Name:      "ping",
		Usage:     "measure the round trip of a whole route",
		UsageText: "sp ping ROUTE [-c N]",
		ArgsUsage: "[ROUTE]",
		Flags: append([]cli.Flag{
			toFlag(),
			&cli.IntFlag{
				Name: "count", Aliases: []string{"c"}, Value: defaultPings,
				Usage: "how many `TIMES`",
			},
			&cli.DurationFlag{
				Name: "interval", Value: defaultPingInterval, Category: timeCategory,
				Usage: "time between two of them",
			},
			timeoutFlag("how long to wait for each"),
		}, nodeFlags(ownKeyText)...),
		Action: action(runPing),
	}
}

func runPing(c *call) error {
	if err := routeArgument(c); err != nil {
		return err
	}
	node, to, err := openTo(c)
	if err != nil {
		return err
	}
	defer node.Close()
	var times []time.Duration
	for i := range c.count("count") {
		if i > 0 && !pause.For(c.ctx, c.duration("interval")) {
			break
		}
		d, err := pingWithin(c.ctx, node, to, c.duration("timeout"))
		if err != nil {
			return err
		}
		times = append(times, d)
		say(c.stdout, "%d: %s", i+1, milliseconds(d))
	}
	slices.Sort(times)
	if n := len(times); n > 0 {
		say(c.stdout, "min %s, median %s, max %s",
			milliseconds(times[0]), milliseconds(times[n/2]), milliseconds(times[n-1]))
	}
	return nil
}

// pingWithin measures one round trip, which may take as long as timeout.
func pingWithin(
	ctx context.Context, node *route.Node, to route.Route, timeout time.Duration,
) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, noAnswer(timeout))
	defer cancel()
	return node.Ping(ctx, to)
}

// noAnswer is the error of what has not been answered in its time.
func noAnswer(timeout time.Duration) error {
	return fmt.Errorf("no answer within %v: %w", timeout, os.ErrDeadlineExceeded)
}

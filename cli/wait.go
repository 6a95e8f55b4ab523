package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
)

func waitCommand() *cli.Command {
	return &cli.Command{
		Name:      "wait",
		Usage:     "wait until each of some routes leads to an outlet that answers",
		UsageText: "sp wait ROUTE… [--timeout 10s]",
		ArgsUsage: "[ROUTE…]",
		Description: "It prints nothing. The exit code is 0 when all have answered, and otherwise says " +
			"why one has not.",
		Flags: slices.Concat([]cli.Flag{
			&listFlag{
				Name: "to",
				Usage: "`ROUTE` to the outlet: host:port, name@relay:port, a chain of these with / " +
					"between, the long form, or - to read it from stdin; repeatable",
			},
			&cli.DurationFlag{
				Name: "timeout", Value: defaultReadyTimeout, Category: timeCategory,
				Usage: "how long to wait for all of them",
			},
		}, quietFlags(nodeFlags(ownKeyText))),
		Action: action(runWait),
	}
}

func runWait(c *call) error {
	texts := slices.Concat(c.list("to"), c.args)
	if len(texts) == 0 {
		return missing(c, "to")
	}
	var routes []route.Route
	for _, text := range texts {
		to, _, err := readRoute(text, c.stdin)
		if err == nil {
			err = portal.CheckRoute(to)
		}
		if err != nil {
			return err
		}
		routes = append(routes, to)
	}
	options, err := daemonOptions(c)
	if err != nil {
		return err
	}
	node, err := daemon.OpenNode(nodeConfig(c), options)
	if err != nil {
		return err
	}
	defer node.Close()
	timeout := c.duration("timeout")
	ctx, cancel := context.WithTimeoutCause(c.ctx, timeout, noAnswer(timeout))
	defer cancel()
	errs := make([]error, len(routes))
	var tasks sync.WaitGroup
	for i, to := range routes {
		tasks.Go(func() { errs[i] = awaitRoute(ctx, node, to) })
	}
	tasks.Wait()
	if ended := c.process.signals.ended(); ended != nil {
		return ended
	}
	for i, err := range errs {
		if err == nil {
			continue
		}
		if ctx.Err() != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("not reached within %v: %w", timeout, err)
		}
		return fmt.Errorf("%s: %w", texts[i], err)
	}
	return nil
}

// awaitRoute returns when a route is open, or why it was not when ctx has ended.
func awaitRoute(ctx context.Context, node *route.Node, to route.Route) error {
	paths := node.NewFailover([]route.Route{to})
	running, stop := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { paths.Run(running) })
	defer keeping.Wait()
	defer stop()
	return paths.Await(ctx)
}

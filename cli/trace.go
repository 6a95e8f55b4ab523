package cli

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/route"
)

func traceCommand() *cli.Command {
	return &cli.Command{
		Name:      "trace",
		Usage:     "measure the round trip to each node of a route",
		UsageText: "sp trace ROUTE",
		ArgsUsage: "[ROUTE]",
		Flags: append([]cli.Flag{
			toFlag(), timeoutFlag("how long to wait for each"), directFlag(),
		}, nodeFlags(ownKeyText)...),
		Action: action(runTrace),
	}
}

func runTrace(c *call) error {
	if err := routeArgument(c); err != nil {
		return err
	}
	node, to, err := openTo(c)
	if err != nil {
		return err
	}
	defer node.Close()
	for i, hop := range route.Hops(to) {
		d, err := pingWithin(c.ctx, node, hop.Route, c.duration("timeout"))
		if err != nil {
			return err
		}
		say(c.stdout, "%d %s %s", i+1, hop.Where, milliseconds(d))
	}
	return traceDirect(c, node, to)
}

// traceDirect says whether connections on a route would go without the relay that is on it.
func traceDirect(c *call, node *route.Node, to route.Route) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.duration("timeout"))
	defer cancel()
	state, err := node.TryDirect(ctx, to)
	switch {
	case errors.Is(err, route.ErrNoRelay):
	case err != nil:
		return err
	case state.At.IsValid():
		say(c.stdout, "direct %s %s", state.At, milliseconds(state.Took))
	default:
		say(c.stdout, "not direct: %v", state.Err)
	}
	return nil
}

package cli

import (
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
			toFlag(), timeoutFlag("how long to wait for each"),
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
	return nil
}

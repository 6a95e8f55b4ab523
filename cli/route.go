package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/route"
)

func routeCommand() *cli.Command {
	return &cli.Command{
		Name:      "route",
		Usage:     "print the long form of a route, and what happens at each step",
		ArgsUsage: "ROUTE",
		Action:    action(runRoute),
	}
}

func runRoute(c *call) error {
	text, err := c.oneArgument("ROUTE")
	if err != nil {
		return err
	}
	r, _, err := readRoute(text, c.stdin)
	if err != nil {
		return err
	}
	say(c.stdout, "%s", route.Format(r))
	for i, a := range r {
		say(c.stdout, "%2d %s", i+1, route.Explain(a))
	}
	return nil
}

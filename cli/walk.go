package cli

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

// Commands and flags are declared as urfave/cli has them, which reads values and variables. But it
// does not run them: whatever it runs may print help by text/template, which looks methods up by
// their names. A program that has that in it keeps all exported methods of all that is behind some
// interface, and is larger by a fifth: see TestNoLookup.

// runApp runs the command that a command line names.
func runApp(ctx context.Context, app *cli.App, args []string) error {
	args, err := arrange(app, args)
	if err != nil {
		return err
	}
	app.Metadata[givenKey] = countGiven(args)
	root := &cli.Command{
		Name: app.Name, HelpName: app.HelpName, Flags: app.Flags, Subcommands: app.Commands,
		Action: app.Action,
	}
	above := &cli.Context{Context: ctx}
	if len(args) > 0 {
		args = args[1:]
	}
	c, err := parse(app, above, root, args)
	if err != nil {
		return err
	}
	switch {
	case c.Bool(helpWord):
		return helpAbove(c)
	case c.Bool(versionWord):
		return app.Command(versionWord).Action(c)
	}
	return walk(c)
}

// walk runs the command that the next word names, or that which has got as far as this.
func walk(c *cli.Context) error {
	words := c.Args().Slice()
	if len(words) == 0 {
		return c.Command.Action(c)
	}
	next := c.Command.Command(words[0])
	if next == nil {
		return c.Command.Action(c)
	}
	c, err := parse(c.App, c, next, words[1:])
	switch {
	case err != nil:
		return err
	case c.Bool(helpWord):
		return printHelp(c.App.Writer, c.Command)
	}
	if err := checkFlags(c); err != nil {
		return err
	}
	return walk(c)
}

// parse reads the flags that stand before the first other word.
func parse(
	app *cli.App, above *cli.Context, command *cli.Command, words []string,
) (*cli.Context, error) {
	command.Flags = withHelp(command.Flags)
	set, err := flagSet(command)
	if err == nil {
		err = set.Parse(words)
	}
	if err == nil {
		err = sayByAllNames(set, command.Flags)
	}
	c := cli.NewContext(app, set, above)
	c.Command = command
	if err != nil {
		return c, inCommand(c, parserError(c, err))
	}
	return c, nil
}

// flagSet has the flags of a command, with their defaults and what the environment says.
func flagSet(c *cli.Command) (*flag.FlagSet, error) {
	set := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	for _, f := range c.Flags {
		if err := f.Apply(set); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// sayByAllNames has each name of a flag have the value that was given by one of them.
func sayByAllNames(set *flag.FlagSet, flags []cli.Flag) error {
	given := make(map[string]string)
	set.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
	for _, f := range flags {
		for _, name := range f.Names() {
			value, ok := given[name]
			if !ok {
				continue
			}
			for _, other := range f.Names() {
				if _, ok := given[other]; ok {
					continue
				}
				if err := set.Set(other, value); err != nil {
					return fmt.Errorf("invalid value %q for flag -%s: %w", value, other, err)
				}
			}
		}
	}
	return nil
}

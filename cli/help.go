package cli

import "github.com/urfave/cli/v2"

// helpHelp says where help is. The word help is read before anything else: see arrange.
const helpHelp = "sp help COMMAND, or sp COMMAND --help, is the help of a command; " +
	"sp help routes,\nsp help trust and sp help exit-codes are the help of these."

func versionCommand(build Build) *cli.Command {
	return &cli.Command{
		Name:  versionWord,
		Usage: "print version, commit and Go",
		Action: action(func(c *call) error {
			say(c.stdout, "%s", build)
			return nil
		}),
	}
}

package cli

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// environmentPrefix begins the name of each environment variable that stands for a flag.
const environmentPrefix = "SP_"

// valueSeparator is between the values of a repeatable flag in one environment variable: routes
// and Identifiers have no spaces, but attributes and paths may, and none has a newline.
const valueSeparator = "\n"

const environmentHelp = `Flags can be given in the environment too: --max-per-source is
SP_MAX_PER_SOURCE. A repeatable flag takes one value a line there. The command line wins.`

// withoutVariable are the flags that no environment variable stands for, and why not: all
// processes of a user can read each other's environment, and children inherit it.
var withoutVariable = map[string]string{
	"ticket": "it may be the ticket itself, which lets in whoever redeems it first",
}

// variable is the environment variable that stands for a flag, or "".
func variable(flag string) string {
	if _, ok := withoutVariable[flag]; ok {
		return ""
	}
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readEnvironment has a flag that is not on the command line be read from its variable.
func readEnvironment(f cli.Flag) {
	name := variable(f.Names()[0])
	if name == "" {
		return
	}
	from := []string{name}
	switch f := f.(type) {
	case *cli.StringFlag:
		f.EnvVars = from
	case *listFlag:
		f.EnvVars = from
	case *cli.BoolFlag:
		f.EnvVars = from
	case *cli.IntFlag:
		f.EnvVars = from
	case *cli.DurationFlag:
		f.EnvVars = from
	}
}

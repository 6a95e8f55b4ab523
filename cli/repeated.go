package cli

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// argumentsKey is where the app keeps what it was called with.
const argumentsKey = "arguments"

// refuseRepeated refuses a flag that takes one value and is given two: the flag parser would take the last, and say
// nothing.
func refuseRepeated(c *cli.Context) error {
	given := make(map[string]int)
	arguments, _ := c.App.Metadata[argumentsKey].([]string)
	for _, argument := range arguments {
		if argument == "--" {
			break
		}
		if name, isFlag := strings.CutPrefix(argument, "-"); isFlag {
			name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
			given[name]++
		}
	}
	for _, f := range c.Command.Flags {
		times := 0
		for _, name := range f.Names() {
			times += given[name]
		}
		if times > 1 && takesOne(f) {
			return usage(c, "--%s is given %d times, and takes one value", f.Names()[0], times)
		}
	}
	return nil
}

func takesOne(f cli.Flag) bool {
	switch f.(type) {
	case *cli.StringFlag, *cli.IntFlag, *cli.DurationFlag:
		return true
	}
	return false
}

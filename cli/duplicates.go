package cli

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// givenKey is where the app keeps how many times each flag is on the command line.
const givenKey = "given"

// countGiven counts the flags on a command line, by the name that they go by there. What the
// environment says is no part of that.
func countGiven(args []string) map[string]int {
	given := make(map[string]int)
	for _, argument := range args {
		if argument == "--" {
			break
		}
		if name, isFlag := strings.CutPrefix(argument, "-"); isFlag {
			name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
			given[name]++
		}
	}
	return given
}

// refuseDuplicates refuses a flag that takes one value and is given two: the flag parser would
// take the last, and say nothing.
func refuseDuplicates(flags []cli.Flag, given map[string]int) error {
	for _, f := range flags {
		times := 0
		for _, name := range f.Names() {
			times += given[name]
		}
		if times > 1 && takesOne(f) {
			return usage("--%s is given %d times, and takes one value", f.Names()[0], times)
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

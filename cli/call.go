package cli

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// call is one call of a command: what its flags say, its arguments, and where it reads and
// writes. It is what a command's function begins with, and stays there and where flags become a
// configuration: everything else gets plain values.
type call struct {
	ctx    context.Context // ends with the first signal
	args   []string        // that are no flags
	stdin  *input
	stdout io.Writer
	stderr io.Writer

	process *process
	life    *lifeFiles

	flags *cli.Context
	given map[string]int // flags on the command line, and how many times
}

func newCall(c *cli.Context) *call {
	given, _ := c.App.Metadata[givenKey].(map[string]int)
	process, _ := c.App.Metadata[processKey].(*process)
	return &call{
		ctx: c.Context, process: process, args: c.Args().Slice(),
		stdin: &input{r: c.App.Reader}, stdout: c.App.Writer, stderr: c.App.ErrWriter,
		life: newLifeFiles(c), flags: c, given: given,
	}
}

// oneArgument returns the only argument; what says what it is.
func (c *call) oneArgument(what string) (string, error) {
	switch len(c.args) {
	case 0:
		return "", usage("%s is missing", what)
	case 1:
		return c.args[0], nil
	}
	return "", usage("unexpected argument %q: one %s is enough", c.args[1], what)
}

// has tells whether a flag is set, and not to an empty text.
func (c *call) has(flag string) bool {
	if _, repeatable := c.flags.Value(flag).([]string); repeatable {
		return len(c.list(flag)) > 0
	}
	return c.text(flag) != ""
}

// instead are flags that may be there in place of one that is needed.
var instead = map[string][]string{"target": {"sni", "socks5"}}

// hasInstead tells whether one of them is there.
func (c *call) hasInstead(flag string) bool {
	return slices.ContainsFunc(instead[flag], func(other string) bool {
		return flagOf(c.flags.Command, other) != nil && (len(c.list(other)) > 0 || c.yes(other))
	})
}

// says tells whether a flag, repeatable or not, has a value.
func (c *call) says(flag, value string) bool {
	return c.text(flag) == value || slices.Contains(c.all(flag), value)
}

// text is what a flag of one word says, empty if it is not set.
func (c *call) text(flag string) string { return c.flags.String(flag) }

// yes is whether a flag without a value is set.
func (c *call) yes(flag string) bool { return c.flags.Bool(flag) }

// number is what a flag says, 0 if it is not set: what its default means is for others to say.
func (c *call) number(flag string) int {
	if !c.flags.IsSet(flag) {
		return 0
	}
	return c.flags.Int(flag)
}

// count is what a flag says, or its default.
func (c *call) count(flag string) int { return c.flags.Int(flag) }

// duration is what a flag says, or its default.
func (c *call) duration(flag string) time.Duration { return c.flags.Duration(flag) }

// list is what a repeatable flag says. The environment has a value on each line, of which empty
// ones are left out; on the command line an empty value is one, and most likely a mistake.
func (c *call) list(flag string) []string {
	values := c.all(flag)
	if c.given[flag] > 0 {
		return values
	}
	var all []string
	for _, v := range values {
		if strings.TrimSpace(v) != "" {
			all = append(all, v)
		}
	}
	return all
}

// all is what a repeatable flag says, empty values included.
func (c *call) all(flag string) []string {
	values, _ := c.flags.Value(flag).([]string)
	return values
}

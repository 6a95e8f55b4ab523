package cli

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route"
)

// errUsage marks an error of the one who called.
var errUsage = errors.New("usage")

// usageError is such an error, with the command whose help helps.
type usageError struct {
	err     error
	command string // empty until it is known
	hint    string // in place of that help; may be empty
}

func (e *usageError) Error() string        { return e.err.Error() }
func (e *usageError) Unwrap() error        { return e.err }
func (e *usageError) Is(target error) bool { return target == errUsage }

func usage(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// usageWithHint is usage, and says what to do.
func usageWithHint(hint, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), hint: hint}
}

// inCommand returns a command's error as its user should see it: of a field of a configuration
// it says which flag that is, of a flag from the environment, which variable has it, and of wrong
// usage, which help helps.
func inCommand(c *cli.Context, err error) error {
	var field *config.FieldError
	var u *usageError
	if !errors.As(err, &u) && errors.As(err, &field) {
		err = &usageError{err: flagError{field}}
	}
	if errors.As(err, &u) {
		if u.command == "" {
			u.command = c.Command.HelpName
		}
		u.err = spelled(c, u.err)
	} else if errors.Is(err, route.ErrSyntax) && fromEnvironment(c, "to") {
		err = fmt.Errorf("%s: %w", variable("to"), err)
	}
	return err
}

// flagError is an error of a field that was given as a flag.
type flagError struct{ *config.FieldError }

func (e flagError) Error() string {
	return e.Describe(func(field string) string { return "--" + field })
}

func (e flagError) Unwrap() error { return e.FieldError }

var flagInText = regexp.MustCompile(`--[a-z][a-z-]*[a-z]`)

// spelled returns err behind the variables of the flags in it that the environment has given: who
// looks for --listen on the command line does not find it.
func spelled(c *cli.Context, err error) error {
	var variables []string
	for _, flag := range flagInText.FindAllString(err.Error(), -1) {
		name := strings.TrimPrefix(flag, "--")
		if fromEnvironment(c, name) && !slices.Contains(variables, variable(name)) {
			variables = append(variables, variable(name))
		}
	}
	if len(variables) == 0 {
		return err
	}
	return fmt.Errorf("%s: %w", strings.Join(variables, ", "), err)
}

// fromEnvironment tells whether a flag of the command is given, but not on the command line.
func fromEnvironment(c *cli.Context, flag string) bool {
	given, _ := c.App.Metadata[givenKey].(map[string]int)
	name := variable(flag)
	if name == "" || given[flag] > 0 || flagOf(c.Command, flag) == nil {
		return false
	}
	return os.Getenv(name) != ""
}

// What the flag parser says, which are the only errors that it has.
const (
	notDefined   = `^flag provided but not defined: -(.*)$`
	needsValue   = `^flag needs an argument: -(.*)$`
	invalidValue = `(?s)^invalid (?:boolean )?value (".*") for (?:flag )?-([a-z-]+): `

	invalidVariable = `(?s)^could not parse (".*") as .* from environment variable "SP_[A-Z_]+" ` +
		`for flag ([a-z-]+)`
)

// parserError says in this program's words what the flag parser says in its own.
func parserError(c *cli.Context, err error) error {
	said := func(pattern string) []string { // which most starts have no need of
		return regexp.MustCompile(pattern).FindStringSubmatch(err.Error())
	}
	if m := said(notDefined); m != nil {
		return noFlag(c, m[1])
	}
	if m := said(needsValue); m != nil {
		return usage("%s stands without a value", spellFlag(m[1]))
	}
	if m := said(invalidValue); m != nil {
		return usage("%s %s %s", spellFlag(m[2]), m[1], wrongFor(flagOf(c.Command, m[2])))
	}
	if m := said(invalidVariable); m != nil {
		return usage("--%s %s %s", m[2], m[1], wrongFor(flagOf(c.Command, m[2]))) // see spelled
	}
	return usage("%w", err)
}

// wrongFor says what a value is not, by its flag.
func wrongFor(f cli.Flag) string {
	switch f.(type) {
	case *cli.DurationFlag:
		return "is not a time like 500ms, 30s or 5m"
	case *cli.IntFlag:
		return "is not a whole number"
	case *cli.BoolFlag:
		return "is neither true nor false"
	}
	return "cannot be read"
}

func noFlag(c *cli.Context, name string) error {
	flag, of := meantFlag(c.App, c.Command, name)
	said := fmt.Sprintf("%s has no flag %s", c.Command.HelpName, spellFlag(name))
	switch {
	case flag != "":
		return usage("%s: is %s meant?", said, flag)
	case of != "":
		return usage("%s: it is one of %s", said, of)
	}
	return usage("%s", said)
}

// spellFlag returns a flag as one writes it.
func spellFlag(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// needCommand is the action where a subcommand is missing or not known.
func needCommand(c *cli.Context) error {
	group := c.Command.Subcommands
	if c.Command.HelpName == c.App.HelpName || len(group) == 0 {
		group = c.App.Commands
	}
	hint := fmt.Sprintf("the commands are %s; see %s --help",
		strings.Join(namesOf(group), ", "), c.Command.HelpName)
	if !c.Args().Present() {
		return inCommand(c, usageWithHint(hint, "a command is missing"))
	}
	word := c.Args().First()
	if meant := meantCommand(c.App.Commands, group, word); meant != "" {
		return inCommand(c, usageWithHint(hint, "no command %q: is %s meant?", word, meant))
	}
	return inCommand(c, usageWithHint(hint, "no command %q", word))
}

// refuseStray refuses arguments where a command takes none, and says which flag may be missing
// before the first. needed are the flags that must be there.
func refuseStray(c *call, needed []string) error {
	if len(c.args) == 0 || takesArguments(c.flags.Command) {
		return nil
	}
	value := c.args[0]
	if _, err := strconv.ParseUint(value, 10, 16); err == nil {
		value = ":" + value
	}
	for _, name := range append(slices.Clone(needed), "to") {
		isAddress := !slices.Contains(addressFlags, name) || strings.ContainsAny(value, ":/@")
		if flagOf(c.flags.Command, name) != nil && !c.has(name) && isAddress {
			return usage("unexpected argument %q: is --%s %s meant?", c.args[0], name, value)
		}
	}
	return usage("unexpected argument %q", c.args[0])
}

// addressFlags are those whose values are addresses or routes.
var addressFlags = []string{"listen", "target", "next", "to"}

// missing is the error of a flag that must be there: its hint is how the command is used.
func missing(c *call, name string) error {
	how := firstUsage(c.flags.Command)
	if how == "" {
		return usage("--%s is missing", name)
	}
	return usageWithHint(how+"; see "+c.flags.Command.HelpName+" --help", "--%s is missing", name)
}

// firstUsage is how a command is used most often, without what is said of that.
func firstUsage(c *cli.Command) string {
	how, _, _ := strings.Cut(c.UsageText, "\n")
	how, _, _ = strings.Cut(how, "  ")
	return how
}

package cli

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

// listFlag is a repeatable flag, whose value is a list. urfave/cli has one that takes a list apart
// at what an App says, once that runs the command; here commands are run by walk.
type listFlag struct {
	Name        string
	Category    string
	Usage       string
	DefaultText string
	EnvVars     []string // the first that is set has a value a line
	TakesFile   bool     // values name files

	isSet bool // by the environment
}

var (
	_ cli.CategorizableFlag      = (*listFlag)(nil)
	_ cli.DocGenerationSliceFlag = (*listFlag)(nil)
)

// Apply implements cli.Flag.
func (f *listFlag) Apply(set *flag.FlagSet) error {
	value := new(list)
	for _, name := range f.EnvVars {
		if text, ok := os.LookupEnv(name); ok {
			_ = value.Set(text) // which fails never
			value.given, f.isSet = false, true
			break
		}
	}
	set.Var(value, f.Name, f.Usage)
	return nil
}

// String implements cli.Flag.
func (f *listFlag) String() string { return cli.FlagStringer(f) }

// Names implements cli.Flag.
func (f *listFlag) Names() []string { return []string{f.Name} }

// IsSet implements cli.Flag.
func (f *listFlag) IsSet() bool { return f.isSet }

// IsVisible implements cli.VisibleFlag.
func (f *listFlag) IsVisible() bool { return true }

// GetCategory implements cli.CategorizableFlag.
func (f *listFlag) GetCategory() string { return f.Category }

// TakesValue implements cli.DocGenerationFlag.
func (f *listFlag) TakesValue() bool { return true }

// GetUsage implements cli.DocGenerationFlag.
func (f *listFlag) GetUsage() string { return f.Usage }

// GetValue implements cli.DocGenerationFlag.
func (f *listFlag) GetValue() string { return "" }

// GetDefaultText implements cli.DocGenerationFlag.
func (f *listFlag) GetDefaultText() string { return f.DefaultText }

// GetEnvVars implements cli.DocGenerationFlag.
func (f *listFlag) GetEnvVars() []string { return f.EnvVars }

// IsSliceFlag implements cli.DocGenerationSliceFlag.
func (f *listFlag) IsSliceFlag() bool { return true }

// list is the value of a listFlag.
type list struct {
	values []string
	given  bool // on the command line: what the environment had is gone
}

var _ flag.Getter = (*list)(nil)

// Set implements flag.Value: it adds a value, or several, of which each has a line.
func (l *list) Set(text string) error {
	if !l.given {
		l.values, l.given = nil, true
	}
	for value := range strings.SplitSeq(text, valueSeparator) {
		l.values = append(l.values, strings.TrimSpace(value))
	}
	return nil
}

// String implements flag.Value.
func (l *list) String() string { return fmt.Sprint(l.values) }

// Get implements flag.Getter: it is a []string.
func (l *list) Get() any { return l.values }

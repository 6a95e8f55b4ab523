package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/keyfile"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name:      "config",
		Usage:     "print what an sp up runs, or a file would have it run, defaults included",
		ArgsUsage: "[FILE]",
		Description: "It is a file for sp up again. Defaults are keys with values, or in a comment " +
			"where naming them\nwould mean more than leaving them out. Secrets are files, and their names " +
			"are printed.",
		Flags:  []cli.Flag{againstFlag("print what this sp up runs")},
		Action: action(runConfig),
	}
}

func runConfig(c *call) error {
	if len(c.args) == 0 {
		p, err := findUp(c.ctx, c.text("against"), "")
		if err != nil {
			return err
		}
		fmt.Fprint(c.stdout, p.runs.Text)
		return nil
	}
	path, err := c.oneArgument("FILE")
	if err != nil {
		return err
	}
	if c.has("against") {
		return usage("a FILE and --against: what is to be printed?")
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	file, err := loadPortals(path, false)
	if err != nil {
		return err
	}
	fmt.Fprint(c.stdout, printPortals(file))
	return nil
}

// printPortals prints a file so that it can be read again: every key of every portal, with what it
// has from the top and from nowhere.
func printPortals(f *portalFile) string {
	var b strings.Builder
	r := &fileReader{folder: filepath.Dir(f.path)}
	fmt.Fprintf(&b, "# %s\n\n", f.path)
	top := topFlags()
	for _, name := range processKeys {
		printKey(&b, r, f.keys, top[name])
	}
	for _, p := range f.portals {
		fmt.Fprintf(&b, "\n[%s]\n", toml.Key{p.role.kind, p.name})
		for _, flag := range p.role.command().Flags {
			if p.role.keyFlags()[flag.Names()[0]] != nil {
				printKey(&b, r, p.keys, flag)
			}
		}
	}
	return b.String()
}

// printKey prints a key with its value, or with what holds without it.
func printKey(b *strings.Builder, r *fileReader, keys map[string]keyfile.Key, f cli.Flag) {
	name := f.Names()[0]
	if k, ok := keys[name]; ok {
		fmt.Fprint(b, keyLine(name, r.plain(k, f)))
		return
	}
	value, means := defaultOf(f)
	if means {
		fmt.Fprint(b, keyLine(name, value))
		return
	}
	fmt.Fprintf(b, "# %s", strings.TrimSuffix(keyLine(name, value), "\n"))
	if text := defaultText(f); text != "" {
		fmt.Fprintf(b, "  # %s", text)
	}
	fmt.Fprintln(b)
}

func keyLine(name string, value any) string {
	line, err := toml.Marshal(map[string]any{name: value})
	if err != nil {
		return fmt.Sprintf("# %s: %v\n", name, err)
	}
	return string(line)
}

// plain is a key's value with the names of files as they are from everywhere.
func (r *fileReader) plain(k keyfile.Key, f cli.Flag) any {
	_, isList := f.(*listFlag)
	_, isText := f.(*cli.StringFlag)
	if !isList && !isText {
		return k.Value
	}
	takesFile := false
	switch f := f.(type) {
	case *listFlag:
		takesFile = f.TakesFile
	case *cli.StringFlag:
		takesFile = f.TakesFile || k.Name == "ticket"
	}
	all := slices.Clone(listOf(k))
	for i, text := range all {
		all[i], _ = r.value(k.Name, text, takesFile)
	}
	if isText && len(all) == 1 {
		return all[0]
	}
	if all == nil {
		all = []string{}
	}
	return all
}

// defaultOf returns what holds without a key, and whether that is the same as naming it.
func defaultOf(f cli.Flag) (value any, means bool) {
	switch f := f.(type) {
	case *cli.BoolFlag:
		return f.Value, true
	case *cli.IntFlag:
		return f.Value, false // a limit is lower by default where there is little to have
	case *cli.DurationFlag:
		return f.Value.String(), true
	case *cli.StringFlag:
		return f.Value, f.Value != ""
	}
	return []string{}, false
}

// defaultText says what holds without a key that has no value then.
func defaultText(f cli.Flag) string {
	if f, ok := f.(*cli.StringFlag); ok {
		return f.DefaultText
	}
	return ""
}

package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

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

// withHelp adds the flag for help to those of a command.
func withHelp(flags []cli.Flag) []cli.Flag {
	if slices.Contains(flags, cli.HelpFlag) {
		return flags
	}
	return append(slices.Clip(flags), cli.HelpFlag)
}

// helpAbove prints the help of the program, or of the command that stands behind --help.
func helpAbove(c *cli.Context) error {
	words := c.Args().Slice()
	if len(words) == 0 {
		return printAppHelp(c.App)
	}
	path, command := find(c.App.Commands, words)
	if command == nil || len(path) < len(words) {
		return needCommand(c)
	}
	return printHelp(c.App.Writer, command)
}

// printAppHelp prints the help of the program itself.
func printAppHelp(app *cli.App) error {
	h := newHelp(app.Name, app.Usage)
	h.section("USAGE", app.Name+" [global options] command [command options]")
	h.section("VERSION", app.Version)
	h.section("DESCRIPTION", app.Description)
	h.section("EXAMPLES", examples[""]...)
	h.commands(app.Commands)
	h.title("GLOBAL OPTIONS")
	h.flags(app.Flags)
	return h.print(app.Writer)
}

// printHelp prints the help of a command.
func printHelp(w io.Writer, c *cli.Command) error {
	h := newHelp(c.HelpName, c.Usage)
	how := strings.TrimSpace(c.HelpName + " [command options] " + c.ArgsUsage)
	h.section("USAGE", cmp.Or(c.UsageText, how))
	h.section("DESCRIPTION", c.Description)
	h.section("EXAMPLES", examples[strings.TrimPrefix(c.HelpName, programName+" ")]...)
	h.commands(c.Subcommands)
	h.title("OPTIONS")
	h.categories(withHelp(c.Flags))
	return h.print(w)
}

// help is a text that is made section by section. What stands behind a tab is below each other.
type help struct{ bytes.Buffer }

func newHelp(name, usage string) *help {
	h := new(help)
	h.WriteString("NAME:\n")
	h.lines(name + " - " + usage)
	return h
}

// title begins a section.
func (h *help) title(title string) { h.WriteString("\n" + title + ":\n") }

// section has some texts, and is left out when there are none.
func (h *help) section(title string, texts ...string) {
	if strings.Join(texts, "") == "" {
		return
	}
	h.title(title)
	for _, text := range texts {
		h.lines(text)
	}
}

// lines writes the lines of a text.
func (h *help) lines(text string) {
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" {
			line = "   " + line
		}
		h.WriteString(line + "\n")
	}
}

func (h *help) commands(all []*cli.Command) {
	if len(all) == 0 {
		return
	}
	h.title("COMMANDS")
	for _, c := range all {
		if !c.Hidden {
			h.lines(c.Name + "\t" + c.Usage)
		}
	}
}

// flags writes a line for each.
func (h *help) flags(all []cli.Flag) {
	for _, f := range all {
		h.lines(f.String())
	}
}

// categories writes flags by their categories, those that have none first, each in order. Where
// none has one, they stay as they are.
func (h *help) categories(all []cli.Flag) {
	by := make(map[string][]cli.Flag)
	for _, f := range all {
		of := ""
		if in, ok := f.(cli.CategorizableFlag); ok {
			of = in.GetCategory()
		}
		by[of] = append(by[of], f)
	}
	if len(by) == 1 {
		h.flags(all)
		return
	}
	for i, name := range slices.Sorted(maps.Keys(by)) {
		if i > 0 {
			h.WriteString("\n")
		}
		if name != "" {
			h.lines(name + "\n")
		}
		h.flags(slices.SortedFunc(slices.Values(by[name]), func(a, b cli.Flag) int {
			return cmp.Compare(a.Names()[0], b.Names()[0])
		}))
	}
}

// print writes what there is. An error is the writer's.
func (h *help) print(to io.Writer) error {
	const cell, pad = 1, 2
	w := tabwriter.NewWriter(to, cell, 0, pad, ' ', 0)
	if _, err := w.Write(h.Bytes()); err != nil {
		return fmt.Errorf("writing help: %w", err)
	}
	return w.Flush()
}

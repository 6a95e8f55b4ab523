package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/internal/atomicfile"
)

func manCommand() *cli.Command {
	return &cli.Command{
		Name:      "man",
		Usage:     "print the manual page of sp, or of a command",
		UsageText: "sp man [COMMAND…]\nsp man --dir FOLDER      (all pages, for packages)",
		ArgsUsage: "[COMMAND…]",
		Description: "It is roff: sp man inlet | man -l -, or sp man --dir with a folder man1 of " +
			"$MANPATH and man sp-inlet.",
		Flags: []cli.Flag{&cli.StringFlag{
			Name: "dir", TakesFile: true, Usage: "write all pages into this `FOLDER`, and print none",
		}},
		Action: action(runMan),
	}
}

func runMan(c *call) error {
	app := c.flags.App
	if folder := c.text("dir"); folder != "" {
		if len(c.args) > 0 {
			return usage("both --dir and %q: it has all pages", c.args[0])
		}
		return writePages(app, folder)
	}
	if len(c.args) == 0 {
		_, err := c.stdout.Write(mainPage(app))
		return err
	}
	path, command := find(app.Commands, c.args)
	if len(path) < len(c.args) {
		return usage("no command %q", strings.Join(c.args, " "))
	}
	_, err := c.stdout.Write(commandPage(app, path, command))
	return err
}

// writePages writes a page for sp, and one for each command.
func writePages(app *cli.App, folder string) error {
	write := func(name string, page []byte) error {
		file := filepath.Join(folder, name+".1")
		if err := atomicfile.ReplaceOpen(file, page); err != nil {
			return fmt.Errorf("%s: %w", file, atomicfile.WithoutPath(err))
		}
		return nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := write("sp", mainPage(app)); err != nil {
		return err
	}
	var each func(path []string, all []*cli.Command) error
	each = func(path []string, all []*cli.Command) error {
		for _, c := range all {
			path := append(path[:len(path):len(path)], c.Name)
			if err := write(pageName(path), commandPage(app, path, c)); err != nil {
				return err
			}
			if err := each(path, c.Subcommands); err != nil {
				return err
			}
		}
		return nil
	}
	return each(nil, app.Commands)
}

// pageName is the name of the page of a command.
func pageName(path []string) string { return strings.Join(append([]string{"sp"}, path...), "-") }

// manPage is a manual page in the language of man(7).
type manPage struct{ bytes.Buffer }

// roff has text be nothing but text.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", "", "…", `...`, "’", "'").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

func (p *manPage) begin(app *cli.App, name, usage string) {
	fmt.Fprintf(p, ".TH %s 1 \"\" \"sp %s\" \"sp\"\n", strings.ToUpper(roff(name)),
		roff(app.Version))
	p.section("NAME")
	fmt.Fprintf(p, "%s \\- %s\n", roff(name), roff(usage))
}

func (p *manPage) section(title string) { fmt.Fprintf(p, ".SH %s\n", title) }

// verbatim has lines stay as they are.
func (p *manPage) verbatim(lines []string) {
	p.WriteString(".nf\n")
	for _, line := range lines {
		p.WriteString(roff(line) + "\n")
	}
	p.WriteString(".fi\n")
}

// text has each paragraph be filled.
func (p *manPage) text(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			p.WriteString(".PP\n")
		}
		for line := range strings.Lines(paragraph) {
			p.WriteString(roff(strings.TrimSpace(line)) + "\n")
		}
	}
}

// item is a term, and what it means.
func (p *manPage) item(term, meaning string) {
	fmt.Fprintf(p, ".TP\n%s\n%s\n", term, roff(strings.TrimSpace(meaning)))
}

func bold(text string) string { return `\fB` + roff(text) + `\fR` }

// mainPage is the page of sp itself.
func mainPage(app *cli.App) []byte {
	var p manPage
	p.begin(app, "sp", app.Usage)
	p.section("SYNOPSIS")
	p.WriteString(bold("sp") + " \\fICOMMAND\\fR [\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]\n")
	p.section("DESCRIPTION")
	p.text(app.Description)
	p.section("COMMANDS")
	for _, c := range app.Commands {
		p.item(bold(pageName([]string{c.Name}))+"(1)", c.Usage)
	}
	p.section("EXAMPLES")
	p.verbatim(examples[""])
	for _, t := range topics {
		p.section(strings.ToUpper(roff(t.name)))
		p.verbatim(strings.Split(strings.TrimSpace(topicText(t.name)), "\n"))
	}
	p.section("FILES")
	p.item(`\fI~/.config/sp/identity\fR`, "this user's key, made on first use")
	p.item(`\fI~/.config/sp/relay/identity\fR`, "the key of this user's relays")
	p.item(`\fI~/.local/state/sp/seen\fR`, "who has rotated keys")
	return p.Bytes()
}

// commandPage is the page of a command.
func commandPage(app *cli.App, path []string, c *cli.Command) []byte {
	var p manPage
	p.begin(app, pageName(path), c.Usage)
	p.section("SYNOPSIS")
	how := c.UsageText
	if how == "" {
		how = strings.TrimSpace(commandName(path) + " [OPTIONS] " + c.ArgsUsage)
	}
	p.verbatim(strings.Split(how, "\n"))
	p.section("DESCRIPTION")
	if c.Description != "" {
		p.text(c.Description)
	} else {
		p.text(strings.ToUpper(c.Usage[:1]) + c.Usage[1:] + ".")
	}
	if len(c.Subcommands) > 0 {
		p.section("COMMANDS")
		for _, sub := range c.Subcommands {
			p.item(bold(pageName(append(path[:len(path):len(path)], sub.Name)))+"(1)", sub.Usage)
		}
	}
	p.section("EXAMPLES")
	p.verbatim(examples[strings.Join(path, " ")])
	p.options(c)
	p.section("SEE ALSO")
	p.WriteString(bold("sp") + "(1)\n")
	return p.Bytes()
}

// options are the flags, those without a category first.
func (p *manPage) options(c *cli.Command) {
	var categories []string
	by := make(map[string][]cli.Flag)
	for _, f := range c.Flags {
		category := ""
		if in, ok := f.(cli.CategorizableFlag); ok {
			category = in.GetCategory()
		}
		if by[category] == nil && category != "" {
			categories = append(categories, category)
		}
		by[category] = append(by[category], f)
	}
	if len(c.Flags) > 0 {
		p.section("OPTIONS")
	}
	for _, category := range append([]string{""}, categories...) {
		if category != "" {
			fmt.Fprintf(p, ".SS %s\n", roff(category))
		}
		for _, f := range by[category] {
			p.item(optionTerm(f), optionText(f))
		}
	}
}

// optionTerm is a flag as it is written, with its value.
func optionTerm(f cli.Flag) string {
	w := flagWordsOf(f)
	var names []string
	for _, name := range w.names {
		names = append(names, bold(name))
	}
	term := strings.Join(names, ", ")
	if w.value != "" {
		term += ` \fI` + roff(w.value) + `\fR`
	}
	return term
}

// optionText is what a flag is for, its default, and its variable.
func optionText(f cli.Flag) string {
	text := f.(cli.DocGenerationFlag).GetUsage()
	if d, ok := f.(*cli.DurationFlag); ok && d.DefaultText != "" {
		text += " (default: " + d.DefaultText + ")"
	} else if value, means := defaultOf(f); means && value != false {
		text += fmt.Sprintf(" (default: %v)", value)
	} else if told := defaultText(f); told != "" {
		text += " (default: " + told + ")"
	}
	if v := variable(f.Names()[0]); v != "" {
		text += " [$" + v + "]"
	}
	return text
}

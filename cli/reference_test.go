package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

const referencePage = "../docs/commands.md"

// reference is the page of all commands, made from them, and of the topics of their help.
func reference() string {
	app := newApp(Build{}, strings.NewReader(""), &results{}, nil)
	var b strings.Builder
	b.WriteString("# Commands\n\nMade from the program: `sp help COMMAND` says the same, and " +
		"`sp man` as manual pages.\nThe variable in brackets is what a flag is called in the " +
		"environment.\n")
	var each func(path []string, all []*cli.Command)
	each = func(path []string, all []*cli.Command) {
		for _, c := range all {
			path := append(path[:len(path):len(path)], c.Name)
			writeReference(&b, path, c)
			each(path, c.Subcommands)
		}
	}
	each(nil, app.Commands)
	for _, topic := range topics {
		fmt.Fprintf(&b, "\n## sp help %s\n\n```text\n%s\n```\n", topic.name,
			strings.TrimSpace(topicText(topic.name)))
	}
	return b.String()
}

// writeReference writes what there is to know of one command.
func writeReference(b *strings.Builder, path []string, c *cli.Command) {
	fmt.Fprintf(b, "\n## sp %s\n\n", strings.Join(path, " "))
	text := c.Description
	if text == "" {
		text = c.Usage
	}
	text = strings.TrimSuffix(strings.ToUpper(text[:1])+text[1:], ".") + "."
	for line := range strings.SplitSeq(text, "\n") {
		if at := strings.LastIndexByte(line, ' '); len(line) > 98 { // as documents are
			line = line[:at] + "\n" + line[at+1:]
		}
		b.WriteString(line + "\n")
	}
	how := strings.Split(c.UsageText, "\n")
	if c.UsageText == "" {
		how = []string{strings.TrimSpace(commandName(path) + " [OPTIONS] " + c.ArgsUsage)}
	}
	lines := append(how, "")
	lines = append(lines, examples[strings.Join(path, " ")]...)
	fmt.Fprintf(b, "\n```text\n%s\n```\n", strings.TrimSpace(strings.Join(lines, "\n")))
	if len(c.Flags) == 0 {
		return
	}
	b.WriteString("\n| flag | |\n| --- | --- |\n")
	cell := strings.NewReplacer("|", "\\|", "`", "", "<", "&lt;", "*", "\\*")
	for _, f := range c.Flags {
		w := flagWordsOf(f)
		term := strings.Join(w.names, "`, `")
		if w.value != "" {
			term += " " + w.value
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(term, "|", "\\|"),
			cell.Replace(optionText(f)))
	}
}

// TestReference holds the page of all commands and the commands together.
func TestReference(t *testing.T) {
	want := reference()
	if *update {
		if err := os.WriteFile(referencePage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if contents(t, referencePage) != want {
		t.Error("the page of commands is not what they are: go test ./cli -run TestReference -update")
	}
}

package cli

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/route"
)

// everyCommand calls do with every command, and what it is called: groups as well.
func everyCommand(all []*cli.Command, before []string, do func(path string, c *cli.Command)) {
	for _, c := range all {
		path := append(slices.Clone(before), c.Name)
		do(strings.Join(path, " "), c)
		everyCommand(c.Subcommands, path, do)
	}
}

// TestExamples has the help of each command show examples, each of which can be parsed: it is of
// that command, its flags are there, and its routes are some.
func TestExamples(t *testing.T) {
	app := newApp(Build{}, nil, nil, nil)
	unused := make(map[string]bool)
	for path := range examples {
		unused[path] = true
	}
	delete(unused, "")
	tryExamples(t, "")
	everyCommand(app.Commands, nil, func(path string, _ *cli.Command) {
		delete(unused, path)
		if len(examples[path]) == 0 {
			t.Errorf("sp %s has no example", path)
		}
		tryExamples(t, path)
	})
	for path := range unused {
		t.Errorf("there is no command sp %s", path)
	}
}

func tryExamples(t *testing.T, path string) {
	_, help, _ := run(append(strings.Fields(path), "--help")...)
	if len(help) == 0 {
		t.Errorf("sp %s --help prints nothing", path)
	}
	for _, example := range examples[path] {
		if path != helpWord && !strings.Contains(help, "\n   "+example+"\n") { // whose help is sp's
			t.Errorf("the help of sp %s does not show %q:\n%s", path, example, help)
		}
		if !strings.HasPrefix(example+" ", strings.TrimSpace("sp "+path)+" ") {
			t.Errorf("%q is not of sp %s", example, path)
		}
		if err := parseWith(t, strings.Fields(example), isValid); err != nil {
			t.Errorf("%q: %v", example, err)
		}
	}
}

// parseWith reads a command line as far as its command begins to do something, and has that looked
// at.
func parseWith(t *testing.T, words []string, look func(*call) error) error {
	app := newApp(Build{}, strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer))
	everyCommand(app.Commands, nil, func(_ string, c *cli.Command) {
		if len(c.Subcommands) > 0 {
			return
		}
		c.Action = func(c *cli.Context) error {
			call := newCall(c)
			if err := refuseStray(call, nil); err != nil {
				return err
			}
			return look(call)
		}
	})
	return runApp(t.Context(), app, words)
}

const (
	readme = "../README.md"
	guide  = "../docs/guide.md"
)

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func squeezed(text string) string { return strings.Join(strings.Fields(text), " ") }

// TestTopicExitCodes has sp help exit-codes say what the guide does.
func TestTopicExitCodes(t *testing.T) {
	rows := regexp.MustCompile(`(?m)^\| ([0-9]) \| (.*) \|$`).FindAllStringSubmatch(
		contents(t, guide), -1)
	if len(rows) != 6 {
		t.Fatalf("the guide has %d exit codes", len(rows))
	}
	topic := squeezed(topicText("exit-codes"))
	for _, row := range rows {
		want := row[1] + " " + squeezed(strings.ReplaceAll(row[2], "`", ""))
		if !strings.Contains(topic, want) {
			t.Errorf("sp help exit-codes does not say %q", want)
		}
	}
}

// TestTopicRoutes has each route of sp help routes be one.
func TestTopicRoutes(t *testing.T) {
	text := topicText("routes")
	tried := 0
	for line := range strings.Lines(text) {
		line, indented := strings.CutPrefix(line, "  ")
		word, _, _ := strings.Cut(line, " ")
		word = strings.TrimSpace(word)
		if !indented || word == "-" || strings.Contains(word, "…") || word == "/secure/api" ||
			strings.HasPrefix(word, "/service/NAME") {
			continue
		}
		tried++
		if _, err := route.Parse(word); err != nil {
			t.Errorf("%q: %v", word, err)
		}
	}
	if tried < 9 {
		t.Errorf("%d routes were tried", tried)
	}
	long, err := route.Parse("db@relay.example.com:4000")
	if err != nil || !strings.Contains(text, route.Format(long)) {
		t.Errorf("the long form is not %s, %v", route.Format(long), err)
	}
}

// TestTopicTrust has sp help trust know all flags that say whom to trust, and no other.
func TestTopicTrust(t *testing.T) {
	text := topicText("trust")
	for _, f := range trustFlags() {
		if flag := "--" + f.Names()[0]; !strings.Contains(text, flag) {
			t.Errorf("%s is not in it", flag)
		}
	}
	app := newApp(Build{}, nil, nil, nil)
	known := make(map[string]bool)
	everyCommand(app.Commands, nil, func(_ string, c *cli.Command) {
		for _, f := range c.Flags {
			known["--"+f.Names()[0]] = true
		}
	})
	_, section, _ := strings.Cut(contents(t, guide), "## Who is trusted")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, flag := range flagInText.FindAllString(text, -1) {
		if !known[flag] {
			t.Errorf("there is no flag %s", flag)
		}
		said := strings.Contains(section, flag) || flag == "--seen" || flag == "--to" ||
			flag == "--private"
		if !said {
			t.Errorf("the guide says nothing of %s", flag)
		}
	}
}

// TestHelpOnTopics prints each, and knows no other.
func TestHelpOnTopics(t *testing.T) {
	for _, topic := range topicNames() {
		code, stdout, stderr := run("help", topic)
		if code != 0 || stdout != topicText(topic) || stderr != "" {
			t.Errorf("sp help %s: exit code %d\n%s%s", topic, code, stdout, stderr)
		}
		for line := range strings.Lines(stdout) {
			if len([]rune(line)) > 101 {
				t.Errorf("sp help %s: too long a line: %s", topic, line)
			}
		}
	}
	code, _, stderr := run("help", "nothing")
	if code != 2 || !strings.Contains(stderr, "no command") {
		t.Errorf("sp help nothing: exit code %d\n%s", code, stderr)
	}
	if code, stdout, _ := run("help", "inlet"); code != 0 || !strings.Contains(stdout, "sp inlet") {
		t.Errorf("sp help inlet: exit code %d\n%s", code, stdout)
	}
}

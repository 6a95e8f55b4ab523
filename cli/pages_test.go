package cli

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/route"
)

// pages are what people write. What is a command in them is one of this program's. The page that
// is made from the commands is not among them: TestExamples has what is a command in it.
func pages(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("../docs/*.md")
	if err != nil || len(all) < 10 {
		t.Fatalf("%d pages, %v", len(all), err)
	}
	all = slices.DeleteFunc(all, func(page string) bool { return page == referencePage })
	return append(all, readme)
}

// TestPages has each command in the pages be one that could be given: its flags are there, its
// routes are some, and a role's configuration is valid. That goes for blocks of a shell, for lists
// in YAML, and for units. Of what stands in a sentence, the flags are there.
func TestPages(t *testing.T) {
	p := newPageReader(t)
	for _, page := range pages(t) {
		before := p.commands
		for _, line := range commandLines(contents(t, page)) {
			if err := p.tryLine(line); err != nil {
				t.Errorf("%s: %s: %v", page, line, err)
			}
		}
		p.trySentences(page)
		if n := p.commands - before; needCommands[page] > n {
			t.Errorf("%s has %d commands", page, n)
		}
	}
}

// needCommands is how many commands some pages have at least: fewer are found if they are written
// in a way that is not understood here.
var needCommands = map[string]int{
	readme: 2, guide: 40, "../docs/quickstart.md": 10, "../docs/cookbook.md": 45,
	"../docs/topologies.md": 60, "../docs/trust.md": 15,
}

// TestPagesBite has TestPages refuse what is no command.
func TestPagesBite(t *testing.T) {
	p := newPageReader(t)
	for _, line := range []string{
		"sp inlet --listen :6000 --too server:7000",
		"sp inlet --listen :6000 --to nonsense",
		"sp inlet --listen :6000",
		"sp outlet --listen :7000 --target db",
		"sp outlet --relay relay:4000 --target :9000",
		"sp inlte --listen :6000 --to server:7000",
		"sp relay --listen :4000 --allow me",
		"sp bridge --listen :8000 --next inside",
		"sp run --to db=nonsense -- true",
		"sp run --to db=server:7000",
		"sp service install -- outlet --target :1",
		"sp service install -- ping server:7000",
		"sp ping nonsense",
		"sp wait server:7000 nonsense",
		"sp run --to db=server:7000 -- sp ping nonsense",
		"tar c . | sp outlet --relay relay:4000 --target -",
		"at=$(sp inlet --listen :6000 --too server:7000)",
		"ssh -o ProxyCommand='sp inlet --listen - --to nonsense' me@home",
		"sudo -u sp env HOME=/root sp status --jason",
	} {
		if p.tryLine(line) == nil {
			t.Errorf("%s is taken for a command", line)
		}
	}
	for _, line := range []string{
		"ssh -o ProxyCommand='sp inlet --listen - --to home@relay:4000' me@home",
		"sp inlet … --to relay:4000/db@",
		"systemctl restart sp",
	} {
		if err := p.tryLine(line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// commandLines are the lines of a page that are for a shell, without their prompts, and what its
// YAML and its units run.
func commandLines(page string) (all []string) {
	fenced := false
	lines := strings.Split(page, "\n")
	for i := 0; i < len(lines); i++ {
		line, indented := strings.CutPrefix(lines[i], "    ")
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		if !fenced && !indented {
			continue
		}
		line = strings.TrimSpace(line)
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + strings.TrimSpace(lines[i])
		}
		if command := commandIn(line); command != "" {
			all = append(all, command)
		}
	}
	return all
}

var (
	prompt  = regexp.MustCompile(`^(?:[a-z0-9]*\$|#) +`)
	ours    = regexp.MustCompile(`^(?:\(|exec |sudo |docker )?.*?\bsp\b`)
	inSSH   = regexp.MustCompile(`^ProxyCommand (.+)$`)
	inYAML  = regexp.MustCompile(`^(?:- )?(?:command|args): *(.+)$`)
	ofUnits = regexp.MustCompile(`^ExecStart=(.+)$`)
)

// commandIn is what a line of a block has a shell do with sp, or nothing.
func commandIn(line string) string {
	if list := inYAML.FindStringSubmatch(line); list != nil {
		words := strings.FieldsFunc(strings.Trim(list[1], "[]"), func(r rune) bool {
			return r == ',' || r == ' '
		})
		if _, ok := strings.CutPrefix(words[0], "/"); !ok {
			words = append([]string{"sp"}, words...)
		}
		return strings.Join(words, " ")
	}
	if unit := ofUnits.FindStringSubmatch(line); unit != nil {
		return unit[1] + " …" // the rest is in its environment
	}
	if ssh := inSSH.FindStringSubmatch(line); ssh != nil {
		return ssh[1]
	}
	if at := prompt.FindString(line); at != "" {
		line = line[len(at):]
		if strings.HasPrefix(at, "#") && !strings.HasPrefix(line, "sudo ") {
			return "" // a comment
		}
		if ours.MatchString(line) {
			return line
		}
		return ""
	}
	for _, begins := range []string{"sp ", "./sp "} {
		if strings.HasPrefix(line, begins) {
			return line
		}
	}
	return ""
}

// pageReader tries what it finds in pages.
type pageReader struct {
	t        *testing.T
	ticket   string
	flags    map[string]map[string]bool // of each command, without dashes; of "" are all
	commands int                        // that have been tried
	inlet    []string                   // flags of one that a unit is told of
}

func newPageReader(t *testing.T) *pageReader {
	key := filepath.Join(t.TempDir(), "key")
	if code, _, said := run("identity", "create", key); code != 0 {
		t.Fatal(said)
	}
	code, ticket, said := run("ticket", "create", "--identity", key, "--to", "server.example.com:7000")
	if code != 0 {
		t.Fatal(said)
	}
	p := &pageReader{t: t, ticket: strings.TrimSpace(ticket), flags: make(map[string]map[string]bool)}
	p.flags[""] = map[string]bool{"help": true, "version": true}
	everyCommand(newApp(Build{}, nil, nil, nil).Commands, nil, func(path string, c *cli.Command) {
		p.flags[path] = map[string]bool{"help": true}
		for _, f := range c.Flags {
			for _, name := range f.Names() {
				p.flags[path][name], p.flags[""][name] = true, true
			}
		}
	})
	return p
}

var identifierInText = regexp.MustCompile(`I…[a-z0-9]*`)

// tryLine tries each call of sp in a line for a shell.
func (p *pageReader) tryLine(line string) error {
	line = identifierInText.ReplaceAllString(line, exampleIdentifier)
	line = strings.ReplaceAll(line, "sp-ticket-1:…", p.ticket)
	commands, err := shellCommands(line)
	if err != nil {
		return err
	}
	for _, words := range commands {
		if err := p.tryWords(words); err != nil {
			return err
		}
	}
	return nil
}

// tryWords tries each call of sp in the words of one command: it may be behind sudo, or sp run.
func (p *pageReader) tryWords(words []string) error {
	for i, word := range words {
		if _, inside, ok := strings.Cut(word, "ProxyCommand="); ok || strings.HasPrefix(word, "sp ") {
			if !ok {
				inside = word
			}
			if err := p.tryLine(inside); err != nil {
				return err
			}
			continue
		}
		if filepath.Base(word) != "sp" || i+1 == len(words) {
			continue
		}
		known := p.flags[words[i+1]] != nil || words[i+1] == helpWord
		if i > 0 && !known {
			continue // a user, a unit, a folder
		}
		p.commands++
		if err := p.try(words[i:]); err != nil {
			return err
		}
	}
	return nil
}

// try tries one call. Where something is left out, only its flags are.
func (p *pageReader) try(words []string) error {
	if !strings.Contains(strings.Join(words, " "), "…") && !slices.Contains(words, "--help") {
		return parseWith(p.t, words, isValid)
	}
	return p.tryFlags(words)
}

// tryFlags has the flags in a call be some of its command.
func (p *pageReader) tryFlags(words []string) error {
	path := words[1]
	if len(words) > 2 && p.flags[path+" "+words[2]] != nil {
		path += " " + words[2]
	}
	if p.flags[path] == nil && path != helpWord {
		return fmt.Errorf("there is no command sp %s", path)
	}
	for _, word := range words[2:] {
		name, ok := strings.CutPrefix(word, "--")
		if name == "" && ok {
			return nil // what follows is another program's
		}
		name, _, _ = strings.Cut(name, "=")
		if ok && !p.flags[path][name] {
			return fmt.Errorf("sp %s has no flag --%s", path, name)
		}
	}
	return nil
}

var (
	codeInText     = regexp.MustCompile("`[^`]+`")
	variableInText = regexp.MustCompile(`\bSP_[A-Z_]+\b`)
	ofTests        = []string{"SP_BEFORE", "SP_CHAOS", "SP_CI", "SP_FULL", "SP_NOW", "SP_SOAK"}
)

// trySentences has the flags and variables that a page speaks of be there.
func (p *pageReader) trySentences(page string) {
	variables := make(map[string]bool)
	for flag := range p.flags[""] {
		variables[variable(flag)] = true
	}
	text := contents(p.t, page)
	for _, code := range codeInText.FindAllString(strings.ReplaceAll(text, "```", ""), -1) {
		words := strings.Fields(strings.Trim(code, "`"))
		var err error
		switch {
		case len(words) > 1 && words[0] == "sp" && p.flags[words[1]] != nil:
			err = p.tryFlags(words)
		case len(words) > 0 && flagInText.MatchString(words[0]) && strings.HasPrefix(words[0], "--"):
			if name := strings.TrimPrefix(words[0], "--"); !p.flags[""][name] {
				err = fmt.Errorf("no command has --%s", name)
			}
		}
		if err != nil {
			p.t.Errorf("%s: %s: %v", page, code, err)
		}
	}
	for _, name := range variableInText.FindAllString(text, -1) {
		of := name[strings.LastIndex(name, "_"):]
		known := variables[name] || slices.Contains(ofTests, name) ||
			slices.Contains([]string{"_HOST", "_PORT", "_ADDR", "_ROUTE"}, of) // of sp run
		if !known {
			p.t.Errorf("%s: there is no variable %s", page, name)
		}
	}
}

// isValid tells what is wrong with a call beyond its flags.
func isValid(c *call) error {
	name := c.flags.Command.Name
	for _, role := range portalRoles {
		if role.kind != name {
			continue
		}
		if name == "inlet" {
			return isValidInlet(c)
		}
		all := config.Config{Node: nodeConfig(c)}
		if err := role.fill(c, &all); err != nil {
			return err
		}
		return all.Validate()
	}
	switch name {
	case "run":
		_, err := readRunPlan(c)
		return err
	case "install", hostWord:
		if words := c.args; len(words) == 0 || words[0] != upWord { // which is of a file
			_, err := serviceLine(c.ctx, words, "/")
			return err
		}
	case "pair":
		if relay := c.text("relay"); relay != "" {
			_, err := config.ParseRelay(relay)
			return err
		}
	case "ping", "trace", "route", "wait", "bench", "send", "doctor":
		routes := append(c.list("to"), c.text("to"))
		if name != "send" {
			routes = append(routes, c.args...)
		}
		for _, text := range routes {
			if text = strings.TrimPrefix(text, "udp://"); text == "" || text == "[]" ||
				text == fromStdin {
				continue
			}
			if _, err := route.Parse(text); err != nil {
				return err
			}
		}
	}
	return nil
}

// isValidInlet is isValid for an inlet, or several.
func isValidInlet(c *call) error {
	in := inletOf(c)
	if in.Listen == "" {
		in.Listen = loopbackFree
	}
	ticket, err := validTicket(c.text("ticket"), c.stdin)
	if err != nil {
		return err
	}
	if in.To = c.list("to"); ticket != nil && len(in.To) == 0 {
		in.To = []string{ticket.Route()}
	}
	if slices.Contains(in.To, fromStdin) {
		in.To = nil
	}
	all, _, err := severalInlets(in)
	if err != nil {
		return err
	}
	return config.Config{Node: nodeConfig(c), Inlets: all}.Validate()
}

// shellCommands are the words of each simple command of a line for a shell. What is in $(…) is
// another one; redirections are left out. Only what the pages need is understood.
func shellCommands(line string) (all [][]string, err error) {
	var words []string
	var word bytes.Buffer
	inWord, redirects := false, false
	endWord := func() {
		if inWord && !redirects {
			words = append(words, word.String())
		}
		if inWord {
			redirects = false
		}
		inWord = false
		word.Reset()
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			all = append(all, words)
		}
		words, redirects = nil, false
	}
	for i := 0; i < len(line); i++ {
		switch b := line[i]; {
		case b == ' ' || b == '\t':
			endWord()
		case b == '\'' || b == '"':
			end := strings.IndexByte(line[i+1:], b)
			if end < 0 {
				return nil, fmt.Errorf("a %c has no end", b)
			}
			word.WriteString(line[i+1 : i+1+end])
			inWord = true
			i += end + 1
		case b == '<' || b == '>':
			if strings.Trim(word.String(), "0123456789") == "" {
				word.Reset()
				inWord = false
			}
			endWord()
			redirects = true
		case b == '#' && !inWord:
			endCommand()
			return all, nil
		case strings.IndexByte("|&;()", b) >= 0:
			endCommand()
		default:
			word.WriteByte(b)
			inWord = true
		}
	}
	endCommand()
	return all, nil
}

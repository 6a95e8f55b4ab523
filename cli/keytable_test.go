package cli

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

var update = flag.Bool("update", false, "write what pages in docs have of flags and commands anew")

const configPage = "../docs/config.md"

// keyTable is the table of all keys, made from the flags.
func keyTable() string {
	var b strings.Builder
	b.WriteString("| key | value | where | |\n| --- | --- | --- | --- |\n")
	top, done := topFlags(), make(map[string]bool)
	for _, role := range portalRoles {
		for _, f := range role.command().Flags {
			name := f.Names()[0]
			if done[name] || notKeys[name] != "" {
				continue
			}
			done[name] = true
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, valueOf(f), placesOf(name, top),
				strings.NewReplacer("`", "", "|", "\\|", "--", "").Replace(usagesOf(name)))
		}
	}
	return b.String()
}

// placesOf says where a key may stand.
func placesOf(name string, top map[string]cli.Flag) string {
	var all []string
	if top[name] != nil {
		all = append(all, "top")
	}
	for _, role := range portalRoles {
		if role.keyFlags()[name] != nil {
			all = append(all, role.kind)
		}
	}
	if len(all) == len(portalRoles)+1 {
		return "all"
	}
	return strings.Join(all, ", ")
}

// valueOf says what a key's value is.
func valueOf(f cli.Flag) string {
	switch f.(type) {
	case *cli.BoolFlag:
		return "`true`"
	case *cli.IntFlag:
		return "number"
	case *cli.DurationFlag:
		return "time"
	case *listFlag:
		return "list"
	}
	return "text"
}

// usagesOf says what a key is for: once for all roles, or for each that has it be something else.
func usagesOf(name string) string {
	var usages []string
	roles := make(map[string][]string)
	for _, role := range portalRoles {
		f := flagOf(role.command(), name)
		if f == nil {
			continue
		}
		usage := usageOf(f)
		if !slices.Contains(usages, usage) {
			usages = append(usages, usage)
		}
		roles[usage] = append(roles[usage], role.kind)
	}
	if len(usages) == 1 || name == "identity" {
		return usages[0]
	}
	var all []string
	for _, usage := range usages {
		all = append(all, strings.Join(roles[usage], ", ")+": "+usage)
	}
	return strings.Join(all, "; ")
}

func usageOf(f cli.Flag) string {
	usage := f.(cli.DocGenerationFlag).GetUsage()
	if value, means := defaultOf(f); means && value != false {
		usage += fmt.Sprintf(" (%v)", value)
	} else if text := defaultText(f); text != "" && text != loopbackFree { // which a file has to say
		usage += " (" + text + ")"
	}
	return usage
}

// TestKeyTable holds the page's table and the flags together.
func TestKeyTable(t *testing.T) {
	page, err := os.ReadFile(configPage)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- keys -->\n", "<!-- /keys -->"
	before, rest, ok1 := strings.Cut(string(page), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatal("the table's marks are not in the page")
	}
	if *update {
		whole := before + begin + keyTable() + end + after
		if err := os.WriteFile(configPage, []byte(whole), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != keyTable() {
		t.Error("the table of keys is not that of the flags: go test ./cli -run TestKeyTable -update")
	}
}

// TestExampleFile reads the file that the page shows, which has the portals that it speaks of.
func TestExampleFile(t *testing.T) {
	text, err := os.ReadFile("../docs/sp.toml")
	if err != nil {
		t.Fatal(err)
	}
	f := read(t, string(text))
	var names []string
	for _, p := range f.portals {
		names = append(names, p.fullName())
	}
	want := []string{"outlet db", "outlet backup", "inlet cache", "relay edge"}
	if !slices.Equal(names, want) || f.portals[0].config.Outlets[0].Name != "db" {
		t.Errorf("got %v, want %v", names, want)
	}
	page, err := os.ReadFile(configPage)
	if err != nil {
		t.Fatal(err)
	}
	shown := indentedBlock(string(page), "    identity = ")
	if _, err := readPortals("/etc/sp/sp.toml", shown, false); err != nil {
		t.Errorf("what the page shows: %v\n%s", err, shown)
	}
}

// indentedBlock returns the block of a page that begins so.
func indentedBlock(page, begin string) string {
	_, rest, _ := strings.Cut(page, begin)
	var b strings.Builder
	for line := range strings.Lines(begin + rest) {
		text, indented := strings.CutPrefix(line, "    ")
		if !indented && strings.TrimSpace(line) != "" {
			break
		}
		b.WriteString(text)
	}
	return b.String()
}

package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

const (
	module   = "github.com/secureportal/sp"
	depsFile = "testdata/deps.txt"
)

var update = flag.Bool("update", false, "rewrite the files in testdata that are made from the code")

// releasedFor are the systems whose packages are counted, whatever the machine the test runs on.
var releasedFor = []string{"linux", "darwin", "windows", "freebsd"}

// mayImport is the order of the rooms: what each top-level folder may be built on, directly or
// through something else. Tests may import what they like.
var mayImport = map[string][]string{
	"internal":  {"identity"}, // testkit makes some
	"wire":      {},
	"noise":     {},
	"identity":  {"internal", "wire"},
	"channel":   {"internal", "wire", "noise", "identity"},
	"route":     {"internal", "wire", "noise", "identity", "channel"},
	"portal":    {"internal", "wire", "noise", "identity", "channel", "route"},
	"cli":       {"internal", "wire", "noise", "identity", "channel", "route", "portal"},
	"main":      {"internal", "wire", "noise", "identity", "channel", "route", "portal", "cli"},
	"docs":      {},
	"packaging": {},
	"test":      {},

	// Nobody imports bench.
	"bench": {"internal", "wire", "noise", "identity", "channel", "route", "portal"},
}

// A wall keeps packages of one room, or of all rooms but some, from knowing others. Rooms inside
// rooms have theirs here; a new one gets a line.
type wall struct {
	room string   // a folder: its own package, and not those below it; "" is every room
	but  []string // rooms that it is not for
	not  []string // what must not be known: folders of this module, or other packages

	// direct leaves out what is known only through something else.
	direct bool
}

const flagLibrary = "github.com/urfave/cli/v2"

var walls = []wall{
	// A configuration is a value: no command, no flags, no files, nothing printed.
	{room: "cli/config", not: []string{"cli", "cli/daemon", flagLibrary}},
	{room: "cli/config", not: []string{"os", "io", "log/slog"}, direct: true},
	// A daemon runs it, and knows no command either.
	{room: "cli/daemon", not: []string{"cli", flagLibrary}},
	// Who is asked over a socket or HTTP does not know what the answers mean.
	{room: "cli/control", not: []string{"cli", "cli/daemon", "cli/config", "route", flagLibrary}},
	{room: "cli/telemetry", not: []string{"cli", "cli/daemon", "cli/config", "route", flagLibrary}},
	// What people see of a process is made of what it reports, and of nothing else.
	{
		room: "cli/page", direct: true,
		not: []string{"cli", "cli/config", "cli/control", "route", flagLibrary},
	},
	// Only the commands know how flags are read.
	{but: []string{"cli"}, not: []string{flagLibrary}, direct: true},
	// What is in a configuration file, two know: one reads its text, the other what that means.
	{but: []string{"cli", "cli/keyfile"}, not: []string{"github.com/BurntSushi/toml"}, direct: true},
	{room: "cli/keyfile", not: []string{"cli", "cli/config", "os", "io"}, direct: true},
	// What clients say first is bytes.
	{room: "portal/ask", not: []string{"route", "identity", "channel", "internal/netio"}},
	{room: "portal/ask", not: []string{"os", "io"}, direct: true},
	// A transport gives links, wherever they lead, and says for admission where they come from.
	{room: "route/transport", not: []string{"route", "route/relay", "channel"}},
	// Who walks routes does not know that some nodes are relays.
	{room: "route", not: []string{"route/relay"}},
	// What a set of relays is, and whose a name is, is arithmetic: no sockets, no clock of its own.
	{room: "route/relay/set", not: []string{"route", "route/relay", "route/transport", "channel"}},
	{room: "route/relay/set", not: []string{"net", "os", "io", "internal/netio"}, direct: true},
	// So is what several sets say to each other, and what follows from it.
	{room: "route/relay/sets", not: []string{"route", "route/relay", "route/transport", "channel"}},
	{room: "route/relay/sets", not: []string{"net", "os", "io", "internal/netio"}, direct: true},
	// Who asks and answers in a directory does not know on what bus.
	{
		room: "route/relay/directory", direct: true,
		not: []string{"internal/natsconn", "github.com/nats-io/nats.go"},
	},
	// Who follows a set as an outlet or an inlet does not know how its nodes find each other.
	{room: "route/relay/homes", not: []string{"route/relay/mesh", "route/relay/directory"}},
	// What two ends of a direct way say to each other, and what each believes, is decided without
	// sockets.
	{room: "route/direct", not: []string{"route", "route/relay", "route/transport", "channel"}},
	{room: "route/direct", not: []string{"net", "os", "internal/netio"}, direct: true},
	// A mux knows nothing of where its carrier leads, and what is said on its links.
	{room: "route/mux", not: []string{"route", "route/transport", "channel", "wire", "identity"}},
	// A queue's carrier knows no broker and no address.
	{room: "route/queue", not: []string{"wire", "route/transport", "internal/natsconn", "identity"}},
	// Who is let in is decided without sockets.
	{room: "route/admission", not: []string{"route", "route/relay", "route/transport"}},
	{room: "route/admission", not: []string{"net", "internal/netio"}, direct: true},
	// Who somebody is does not depend on whether anybody trusts them.
	{room: "identity", not: []string{"identity/trust"}},
	// The bytes on the wire are for route and what is below; package route has the words for the
	// others. portal still reads and writes who is calling (wire.Origin) itself.
	{room: "cli", not: []string{"wire"}, direct: true},
	{room: "cli/config", not: []string{"wire"}, direct: true},
	{room: "cli/daemon", not: []string{"wire"}, direct: true},
}

// TestDeps makes a new dependency a decision: it shows in the diff of testdata/deps.txt.
func TestDeps(t *testing.T) {
	got := dependencies(t)
	if *update {
		if err := os.MkdirAll(filepath.Dir(depsFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(depsFile, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	text, err := os.ReadFile(depsFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	want := strings.Fields(string(text))
	for _, pkg := range without(got, want) {
		t.Errorf("sp now depends on %s, which %s does not list", pkg, depsFile)
	}
	for _, pkg := range without(want, got) {
		t.Errorf("sp no longer depends on %s, which %s lists", pkg, depsFile)
	}
	if t.Failed() {
		t.Log("if that is meant, run go test -run '^TestDeps$' . -update and say why in the commit")
	}
}

// TestImportsRunDownwards keeps main → cli → portal → route → channel → identity, noise → wire.
func TestImportsRunDownwards(t *testing.T) {
	for _, pkg := range packages(t) {
		from := room(pkg.ImportPath)
		allowed, ok := mayImport[from]
		if !ok {
			t.Errorf("%s: the top-level folder %s has no place in mayImport, in deps_test.go",
				pkg.ImportPath, from)
			continue
		}
		for _, dep := range pkg.Deps {
			if to := room(dep); to != "" && to != from && !slices.Contains(allowed, to) {
				t.Errorf("%s depends on %s; %s may depend on these rooms only: %v",
					pkg.ImportPath, dep, from, allowed)
			}
		}
	}
}

// TestWalls keeps rooms inside rooms apart.
func TestWalls(t *testing.T) {
	for _, pkg := range packages(t) {
		folder := strings.TrimPrefix(pkg.ImportPath, module+"/")
		for _, w := range walls {
			if w.room != "" && w.room != folder || slices.Contains(w.but, folder) {
				continue
			}
			known := pkg.Deps
			if w.direct {
				known = pkg.Imports
			}
			for _, dep := range known {
				if slices.Contains(w.not, strings.TrimPrefix(dep, module+"/")) {
					t.Errorf("%s knows %s, and there is a wall in deps_test.go", pkg.ImportPath, dep)
				}
			}
		}
	}
}

// TestWallsHold makes sure that a wall would be seen to be broken: what is allowed to some is
// found there.
func TestWallsHold(t *testing.T) {
	for _, pkg := range packages(t) {
		if pkg.ImportPath == module+"/cli" {
			for _, want := range []string{flagLibrary, module + "/cli/config", module + "/route"} {
				if !slices.Contains(pkg.Imports, want) || !slices.Contains(pkg.Deps, want) {
					t.Errorf("cli is not seen to know %s", want)
				}
			}
			return
		}
	}
	t.Error("there is no package cli")
}

// TestHouseIsDrawn has each room, those inside rooms included, stand in the picture of the house.
func TestHouseIsDrawn(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, picture, _ := strings.Cut(string(text), "```\n")
	picture, _, drawn := strings.Cut(picture, "```\n")
	if !drawn {
		t.Fatal("CONTRIBUTING.md has no picture of the house")
	}
	for _, pkg := range packages(t) {
		folder := strings.TrimPrefix(pkg.ImportPath, module+"/")
		name := path.Base(folder) + "/"
		inside := strings.Contains("/"+folder, "/internal/") || room(pkg.ImportPath) == "main"
		if !inside && !slices.Contains(strings.Fields(picture), name) {
			t.Errorf("%s is not drawn in CONTRIBUTING.md: what is it for?", folder)
		}
	}
}

// room returns the top-level folder of a package of this module, main for its root, and nothing
// for other packages.
func room(importPath string) string {
	if importPath == module {
		return "main"
	}
	rest, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return ""
	}
	folder, _, _ := strings.Cut(rest, "/")
	return folder
}

// dependencies returns the packages outside the module and the standard library that are linked
// into sp on some system.
func dependencies(t *testing.T) []string {
	t.Helper()
	var deps []string
	for _, goos := range releasedFor {
		out, err := goList(goos, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
		if err != nil {
			t.Fatal(err)
		}
		for _, pkg := range strings.Fields(string(out)) {
			if room(pkg) == "" {
				deps = append(deps, pkg)
			}
		}
	}
	slices.Sort(deps)
	return slices.Compact(deps)
}

type listed struct {
	ImportPath string
	Dir        string
	Imports    []string // in one step
	Deps       []string // in any number of steps
}

// packages returns the packages of this module.
func packages(t *testing.T) []listed {
	t.Helper()
	all, err := listedOnce()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// listedOnce asks the go command for them, once for all tests.
var listedOnce = sync.OnceValues(func() ([]listed, error) {
	list, err := goList("linux", "-json=ImportPath,Dir,Imports,Deps", "./...")
	if err != nil {
		return nil, err
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(list)); ; {
		var pkg listed
		err := dec.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, pkg)
	}
})

func goList(goos string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", cmd, err, stderr.Bytes())
	}
	return out, nil
}

// without returns what is in a and not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// maxColumns is how long a line of code or prose may be; a tab counts as one.
const maxColumns = 100

// TestColumns keeps lines short enough for two files beside each other. In the documents that is
// prose: a command has to be pasted whole, and tables and drawings have their own width.
func TestColumns(t *testing.T) {
	for _, pkg := range packages(t) {
		files, err := filepath.Glob(filepath.Join(pkg.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			fits(t, file, func(string) bool { return true })
		}
	}
	for _, files := range []string{"*.md", "docs/*.md", "docs/*/*.md", "bench/*.md"} {
		documents, err := filepath.Glob(files)
		if err != nil || len(documents) == 0 {
			t.Fatalf("%s: %d files, %v", files, len(documents), err)
		}
		for _, file := range documents {
			fits(t, file, prose())
		}
	}
}

// fits fails the test for lines of a file that are too long, of those that count.
func fits(t *testing.T, file string, counts func(line string) bool) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		if n := utf8.RuneCountInString(line); counts(line) && n > maxColumns {
			t.Errorf("%s:%d has %d columns", file, i+1, n)
		}
	}
}

// prose returns what tells whether a line of a document is prose. It is asked for each, in order.
func prose() func(line string) bool {
	fenced := false
	return func(line string) bool {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		return !fenced && !strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "|")
	}
}

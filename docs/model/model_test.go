// Package model_test checks the model of a flow's life with spin.
package model_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// one, two and mitm are what of the model is searched. See README.md.
var (
	one  = []string{"-DFLOWS=1", "-DFAULTS=1"}
	two  = []string{"-DFLOWS=2", "-DFAULTS=1"}
	mitm = []string{"-DFLOWS=2", "-DFAULTS=2", "-DONLY_MITM"}
	ltl  = []string{"-DFLOWS=1", "-DFAULTS=1", "-DLTL"}
)

// TestModel searches the model, all of it with SP_FULL=1, and in the short form as far as one flow
// goes.
func TestModel(t *testing.T) {
	searches := map[string][]string{"one flow": one}
	optimize := "-O0" // compiling takes longer than a short search
	if testenv.Full() {
		optimize = "-O1"
		searches["two flows"], searches["tampering"], searches["ltl"] = two, mitm, ltl
	}
	for name, defines := range searches {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := search(t, optimize, defines)
			if !strings.Contains(found, "errors: 0") || strings.Contains(found, "Search not completed") {
				t.Error(found)
			}
			t.Log(figures(found))
		})
	}
}

// mutation breaks the model in one place.
type mutation struct {
	defines []string
	want    string // of what spin says
}

// inShort are the mutations of the short form: one for each property, whose search is short.
var inShort = []string{
	"REACH", "EOF_IS_END", "NO_TAG", "UNNOTICED", "ONE_KEY", "RELEASE_AFTER_ONE",
	"NO_DRAIN",
}

// TestModelBites breaks the model, each time in one place, and expects the search to find what
// comes of it. All places have their turn with SP_FULL=1.
func TestModelBites(t *testing.T) {
	for name, test := range map[string]mutation{
		// Not a mutation: the end can be reached.
		"REACH":              {two, "violated  !((eof["},
		"EOF_IS_END":         {one, "violated hasEnded["},                                // P1
		"NO_NUMBERS":         {one, "violated (ks==recvSeq["},                            // P2
		"NO_TAG":             {one, "violated (k==2)"},                                   // P2
		"UNNOTICED":          {one, "violated (((( !(started["},                          // P3
		"NO_AWAIT":           {one, "violated (((( !((session["},                         // P3
		"LTL":                {with("NO_AWAIT", one), "acceptance cycle"},                // P3
		"ONE_KEY":            {two, "violated (kf==f)"},                                  // P4
		"NO_FILTER":          {mitm, "violated  !(used["},                                // P4
		"RELEASE_AFTER_ONE":  {one, "violated ((sendEnded["},                             // P5
		"RELEASE_AFTER_SENT": {one, "violated ((sendEnded["},                             // P5
		"ABORT_IS_NOT_LAST":  {one, "violated ((sendEnded["},                             // P5
		"SERVE_AFTER_ONE":    {with("NO_GOAWAY", two), "violated ((k>=6)||(owner[side]"}, // P5
		"RESET_RESTING":      {one, "violated ((( !(drained["},                           // P6
		"NO_DRAIN":           {one, "violated ((( !(drained["},                           // P6
	} {
		if !testenv.Full() && !slices.Contains(inShort, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := search(t, "-O0", with(name, test.defines))
			if !strings.Contains(found, test.want) {
				t.Errorf("want %q:\n%s", test.want, found)
			}
		})
	}
}

// with returns defines and one more.
func with(name string, defines []string) []string {
	return append([]string{"-D" + name}, defines...)
}

// search returns what spin finds in the model with defines. optimize is gcc's: more is for a search
// that is not short.
func search(t *testing.T, optimize string, defines []string) string {
	t.Helper()
	spin, gcc := testenv.NeedTool(t, "spin"), testenv.NeedTool(t, "gcc")
	model, err := filepath.Abs("flow.pml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run(t, dir, spin, append(append([]string{"-a"}, defines...), model)...)
	compile := []string{optimize, "-w", "-DCOLLAPSE", "-DMEMLIM=500", "-o", "pan", "pan.c"}
	search := []string{"-m10000", "-w22"}
	if strings.Contains(strings.Join(defines, " "), "-DLTL") {
		search = append(search, "-a")
	} else {
		compile = append(compile, "-DSAFETY", "-DNOCLAIM")
	}
	run(t, dir, gcc, compile...)
	return run(t, dir, filepath.Join(dir, "pan"), search...)
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// figures are the lines of a search's report that README.md gives.
func figures(found string) string {
	var lines []string
	for line := range strings.Lines(found) {
		for _, figure := range []string{"states, stored", "elapsed", "total actual"} {
			if strings.Contains(line, figure) {
				lines = append(lines, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	return strings.Join(lines, ", ")
}

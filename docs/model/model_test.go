// Package model_test checks the models of a flow's life, and of its links' ends, with spin.
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

// part is what is searched of a model.
type part struct {
	model   string
	defines []string
}

// See README.md.
var (
	none = part{"flow.pml", []string{"-DFLOWS=1", "-DFAULTS=0"}}
	one  = part{"flow.pml", []string{"-DFLOWS=1", "-DFAULTS=1"}}
	two  = part{"flow.pml", []string{"-DFLOWS=2", "-DFAULTS=1"}}
	mitm = part{"flow.pml", []string{"-DFLOWS=2", "-DFAULTS=2", "-DONLY_MITM"}}
	ltl  = part{"flow.pml", []string{"-DFLOWS=1", "-DFAULTS=1", "-DLTL"}}

	fault  = part{"resume.pml", []string{"-DFAULTS=1"}}
	longer = part{"resume.pml", []string{"-DFAULTS=1", "-DITEMS=2"}}
	faults = part{"resume.pml", []string{"-DFAULTS=2"}}
	moves  = part{"resume.pml", []string{"-DFAULTS=2", "-DMOVES"}}
)

// TestModel searches the models, all of them with SP_FULL=1. The short form goes as far as one flow
// that outlives its links with one fault, and with SP_CI=1 one without a fault.
func TestModel(t *testing.T) {
	searches := map[string]part{"resume, one fault": fault}
	if testenv.CI() {
		searches["no fault"] = none
	}
	optimize := "-O0" // compiling takes longer than a short search
	if testenv.Full() {
		optimize = "-O1"
		searches["no fault"], searches["one flow"], searches["two flows"] = none, one, two
		searches["tampering"], searches["ltl"] = mitm, ltl
		searches["resume, two records"], searches["resume, two faults"] = longer, faults
		searches["resume, moves"] = moves
	}
	for name, part := range searches {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := search(t, optimize, part)
			if !strings.Contains(found, "errors: 0") || strings.Contains(found, "Search not completed") {
				t.Error(found)
			}
			t.Log(figures(found))
		})
	}
}

// mutation breaks the model in one place.
type mutation struct {
	part part
	want string // of what spin says
}

// inShort are the mutations of the short form, and inCI those of SP_CI=1, of each model a few.
// Their searches are short; it is gcc that takes a second for each.
var (
	inShort = []string{"NO_TAG", "FORGETS_POSITION"}
	inCI    = append(inShort, "REACH", "RELEASE_AFTER_ONE", "RESUMED", "NO_LAST_ACK")
)

// TestModelBites breaks the models, each time in one place, and expects the search to find what
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

		// Not a mutation: a flow can be resumed and end well.
		"RESUMED":            {fault, "violated  !((((((told["},
		"FORGETS_POSITION":   {fault, "violated (((what==1)&&(n==position["}, // R1
		"STATES_LESS":        {fault, "violated (((what==1)&&(n==position["}, // R1
		"RESEND_LESS":        {fault, "violated (((what==1)&&(n==position["}, // R1
		"RESEND_MORE":        {fault, "violated (((what==1)&&(n==position["}, // R1
		"UNNUMBERED":         {fault, "violated (n==position["},              // R1
		"OVERTIME_IS_END":    {fault, "violated gotEnd["},                    // R2
		"END_NOT_KEPT":       {fault, "violated (((told["},                   // R3
		"NO_GONE":            {fault, "violated (((told["},                   // R3
		"NO_LINGER_UNKEPT":   {faults, "violated (((told["},                  // R3
		"LOST_IGNORED":       {faults, "violated cause"},                     // R4
		"NO_LINGER":          {fault, "violated cause"},                      // R4
		"CLEAN_LOSS":         {fault, "violated cause"},                      // R4
		"NO_LOST":            {fault, "violated cause"},                      // R4
		"EARLIER_GONE":       {faults, "violated cause"},                     // R4
		"OVERTAKEN":          {faults, "violated cause"},                     // R4
		"LATE_IS_GONE":       {moves, "violated cause"},                      // R4
		"FREE_SENT":          {fault, "violated (sent[side]<=position["},     // R5
		"STATES_MORE":        {fault, "violated (n<=position["},              // R5
		"OLD_LINK":           {fault, "violated (epochOf["},                  // R6
		"OLD_LINK_RESPONDER": {fault, "violated (epochOf["},                  // R6
		"EARLIER_ANSWER":     {faults, "violated (epochOf["},                 // R6
		"OPENS_HELD":         {moves, "violated (epochOf["},                  // R6
		"LOWER_EPOCH":        {faults, "violated (e>epoch["},                 // R6
		"NO_LAST_ACK":        {fault, "violated (( !(known["},                // R7
		"LINKS_STAY":         {fault, "violated (( !(known["},                // R7
		"ABORT_NOT_KEPT":     {faults, "violated (( !(known["},               // R7
		"LOST_WITHOUT_EPOCH": {fault, "violated (links<("},                   // R8
	} {
		if !testenv.Full() && !slices.Contains(testenv.OfRun(inShort, inCI, nil), name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := search(t, "-O0", with(name, test.part))
			if !strings.Contains(found, test.want) {
				t.Errorf("want %q:\n%s", test.want, found)
			}
		})
	}
}

// with returns p and one more define.
func with(name string, p part) part {
	return part{p.model, append([]string{"-D" + name}, p.defines...)}
}

// search returns what spin finds in the part. optimize is gcc's: more is for a search that is not
// short.
func search(t *testing.T, optimize string, part part) string {
	t.Helper()
	spin, gcc := testenv.NeedTool(t, "spin"), testenv.NeedTool(t, "gcc")
	model, err := filepath.Abs(part.model)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run(t, dir, spin, append(append([]string{"-a"}, part.defines...), model)...)
	compile := []string{optimize, "-w", "-DCOLLAPSE", "-DMEMLIM=500", "-o", "pan", "pan.c"}
	search := []string{"-m10000", "-w22"}
	if strings.Contains(strings.Join(part.defines, " "), "-DLTL") {
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

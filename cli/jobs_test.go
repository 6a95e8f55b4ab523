package cli

import (
	"regexp"
	"strings"
	"testing"
)

// jobLines are what is typed with one tool.
type jobLines struct {
	tool  string
	lines []string // without the machines
}

func (j jobLines) isOurs() bool { return strings.HasPrefix(j.tool+" ", "sp ") }

func (j jobLines) words() int { return len(strings.Fields(strings.Join(j.lines, " "))) }

// readJobs reads the table of jobs, whose names it returns in their order.
func readJobs(t *testing.T) (names []string, jobs map[string][]jobLines) {
	t.Helper()
	jobs = make(map[string][]jobLines)
	var name string
	for line := range strings.Lines(contents(t, "testdata/jobs.txt")) {
		line = strings.TrimSuffix(line, "\n")
		typed, indented := strings.CutPrefix(line, "  ")
		job, isJob := strings.CutPrefix(line, "job: ")
		tools := jobs[name]
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isJob:
			name = job
			names = append(names, name)
		case indented:
			_, command, ok := strings.Cut(typed, "$ ")
			if !ok || len(tools) == 0 {
				t.Fatalf("%q is typed by nobody", line)
			}
			last := &tools[len(tools)-1]
			last.lines = append(last.lines, command)
		default:
			jobs[name] = append(tools, jobLines{tool: line})
		}
	}
	return names, jobs
}

var anyIdentifier = regexp.MustCompile(`\bI(?:[0-9a-f]{8}|…)`)

// TestJobs has everyday jobs take no more words than with the tools that people know, and no
// Identifier. What is ours is tried as the commands in the pages are.
func TestJobs(t *testing.T) {
	p := newPageReader(t)
	names, jobs := readJobs(t)
	if len(names) < 8 {
		t.Errorf("there are %d jobs", len(names))
	}
	for _, name := range names {
		least, ours := 0, 0
		for _, j := range jobs[name] {
			n := j.words()
			t.Logf("%-50s %-50s %2d", name, j.tool, n)
			if !j.isOurs() && (least == 0 || n < least) {
				least = n
			}
		}
		for _, j := range jobs[name] {
			if !j.isOurs() {
				continue
			}
			if ours++; j.words() > least {
				t.Errorf("%s: %s takes %d words, and others %d", name, j.tool, j.words(), least)
			}
			for _, line := range j.lines {
				p.tryJob(line)
			}
		}
		if ours == 0 || least == 0 {
			t.Errorf("%s: nothing is compared", name)
		}
	}
}

// tryJob tries a line as it is typed, or stands in a file of a unit.
func (p *pageReader) tryJob(line string) {
	p.t.Helper()
	if anyIdentifier.MatchString(line) {
		p.t.Errorf("%s: that is an Identifier", line)
	}
	if strings.HasPrefix(line, environmentPrefix) {
		name, value, _ := strings.Cut(line, "=")
		for flag := range p.flags["inlet"] {
			if variable(flag) == name {
				p.inlet = append(p.inlet, "--"+flag, value)
				return
			}
		}
		p.t.Errorf("%s: there is no such variable", line)
		return
	}
	line = strings.ReplaceAll(line, "sp pair CODE", "sp pair code.txt")
	if strings.HasPrefix(line, "systemctl ") && p.inlet != nil { // the unit of an inlet
		line, p.inlet = "sp inlet "+strings.Join(p.inlet, " "), nil
	}
	before := p.commands
	if err := p.tryLine(line); err != nil {
		p.t.Errorf("%s: %v", line, err)
	}
	if p.commands == before && strings.Contains(line, "sp ") {
		p.t.Errorf("%s: no command is found in it", line)
	}
}

package test

import (
	"reflect"
	"strings"
	"testing"
)

const samplePage = `# A page

Text, which is no command: sp inlet.

    app ──▶ inlet

    server$ sp outlet --listen :7000 \
              --target :9000
    client$ sp send hello
    HELLO

## Files

    key = "value"

    other = 1
<!-- -->

    # systemctl start sp

` + "```sh\nsp one &&\nsp two\n```\n"

// TestPagesAreRead has commands be found in a page, with their machines and what they print, and
// what is none be asked about.
func TestPagesAreRead(t *testing.T) {
	t.Parallel()
	var steps []pageStep
	var asked []string
	for _, b := range blocksOf("docs/sample.md", samplePage) {
		if _, err := sift(b, make(map[string]bool)); err != nil {
			asked = append(asked, strings.Join(b.lines, "|"))
		}
		steps = append(steps, b.steps...)
	}
	if want := []string{`key = "value"||other = 1`}; !reflect.DeepEqual(asked, want) {
		t.Errorf("asked about %q, want %q", asked, want)
	}
	if want := []pageStep{
		{machine: "server", command: "sp outlet --listen :7000 --target :9000"},
		{machine: "client", command: "sp send hello", shows: []string{"HELLO"}},
		{machine: "root", command: "systemctl start sp"},
		{command: "sp one &&\nsp two"},
	}; !reflect.DeepEqual(steps, want) {
		t.Errorf("it has\n%q, want\n%q", steps, want)
	}
}

// TestShown has what a page shows be what is printed, but for figures and what it leaves out.
func TestShown(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		page, printed string
		same          bool
	}{
		{"ok  hop 1  relay: sp answers (24.806 ms)", "ok   hop 1   relay: sp answers (3 s)", true},
		{"ok  hop 1  relay: sp answers", "FAIL  hop 1  relay: sp answers", false},
		{"process 4711, up 3 h, I2bbc954bb237…", "process 12, up 1 s, I5c016b8b6b49ab", true},
		{"up 3 h", "down 3 h", false},
		{"path /x/…: up", "path /x/y/z: up", true},
		{"path /x/…: up", "path /y/z: up", false},
	} {
		if shown(row.page).MatchString(row.printed) != row.same {
			t.Errorf("%q is %q: %v", row.printed, row.page, !row.same)
		}
	}
}

package test

import (
	"os"
	"strings"
	"testing"
)

// TestOutputNotWritten has each command whose output cannot be written end with exit code 1, and
// say why.
func TestOutputNotWritten(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	id := u.identifier()
	_, outlet := u.startOutlet(service(t, echo))
	ticket := u.file("ticket", u.must("ticket", "create", "--to", outlet))
	credential := u.file("credential", u.must("credential", "issue", "--for", id))
	for name, args := range map[string][]string{
		"version":           {"--version"},
		"help":              {"--help"},
		"help of a command": {"credential", "issue", "--help"},
		"identity create":   {"identity", "create", u.home + "/new"},
		"identity show":     {"identity", "show"},
		"as JSON":           {"identity", "show", "--json", "--full"},
		"route":             {"route", "db@127.0.0.1:1"},
		"ping":              {"ping", "--to", outlet, "-c", "1"},
		"pings":             {"ping", "--to", outlet, "-c", "1000"},
		"trace":             {"trace", "--to", outlet},
		"send":              sendTo(step(outlet) + toUppercase),
		"ticket create":     {"ticket", "create", "--to", outlet},
		"ticket show":       {"ticket", "show", ticket},
		"credential issue":  {"credential", "issue", "--for", id},
		"credential show":   {"credential", "show", credential},
		"relay":             u.relayAt(anywhere),
		"bridge":            {"bridge", "--listen", anywhere, "--next", "127.0.0.1:1"},
		"outlet":            {"outlet", "--listen", anywhere, "--target", "127.0.0.1:1"},
		"inlet":             {"inlet", "--listen", anywhere, "--to", outlet},
		"standard output":   {"inlet", "--listen", "-", "--to", outlet},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer full.Close()
			cmd := u.command(args...)
			cmd.Stdout, cmd.Stdin = full, strings.NewReader("hello")
			p := start(t, cmd)
			p.ends(1)
			lines := withoutLog(p.stderr.String())
			if !strings.Contains(strings.Join(lines, "\n"), "sp: write /dev/stdout: no space left") {
				t.Errorf("it has said %q", p.stderr.String())
			}
		})
	}
}

//go:build unix

package test

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestIgnoredSignals has what was ignored when a role began stay ignored, and SIGTERM end it.
func TestIgnoredSignals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script  string
		signals []syscall.Signal
	}{
		"a trap": {`trap '' INT; exec "$@"`, []syscall.Signal{syscall.SIGINT}},
		"nohup":  {`exec nohup "$@"`, []syscall.Signal{syscall.SIGHUP}},
		"in the background": {
			`"$@" & wait $!`, []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newPerson(t)
			relay := u.relayAt(anywhere, append(u.ownKey(), "--log-level", "debug")...)
			cmd := u.program("sh",
				append([]string{"-c", test.script + "; exit 9", "sh", u.binary}, relay...)...)
			cmd.WaitDelay = patience // for what the role says when the shell is gone
			p := start(t, cmd)
			at := p.ready()
			for _, s := range test.signals {
				// To the whole group, as a terminal does. The shell that waits is ended by it.
				if err := syscall.Kill(-p.cmd.Process.Pid, s); err != nil {
					t.Fatal(err)
				}
			}
			u.saysHello(step(at))
			u.saysHello(step(at))
			if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := p.await(&p.stderr, func(s string) bool {
				return strings.Contains(s, "stopping")
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSignalsNotIgnored has SIGINT end a role where nobody has ignored it.
func TestSignalsNotIgnored(t *testing.T) {
	t.Parallel()
	p, _ := newPerson(t).startRelay()
	p.signal(syscall.SIGINT)
	p.ends(0)
}

// TestReaderOfResultsGone has a command whose results nobody reads end as others do: by SIGPIPE,
// and without a word.
func TestReaderOfResultsGone(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	u.identifier()
	_, outlet := u.startOutlet(service(t, echo))
	for name, args := range map[string][]string{
		"identity": {"identity", "show"},
		"JSON":     {"identity", "show", "--json"},
		"help":     {"inlet", "--help"},
		"route":    {"route", "db@127.0.0.1:1"},
		"send":     sendTo(step(outlet) + toUppercase),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reader, out := pipe(t)
			hangUp(reader)
			cmd := u.command(args...)
			cmd.Stdout = out
			p := start(t, cmd)
			<-p.done
			status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !status.Signaled() || status.Signal() != syscall.SIGPIPE || p.stderr.String() != "" {
				t.Errorf("it has ended with %v, and said %q", p.cmd.ProcessState, p.stderr.String())
			}
		})
	}
}

// TestHead has a shell see of sp … | head what it sees of other commands.
func TestHead(t *testing.T) {
	t.Parallel()
	u := newPerson(t)
	_, outlet := u.startOutlet(service(t, echo))
	began := time.Now()
	out, err := u.program("sh", "-c", `"$@" | head -n 1; echo done`, "sh", u.binary,
		"ping", "--to", step(outlet), "-c", "100", "--interval", "100ms").CombinedOutput()
	if text := string(out); err != nil || strings.Count(text, "\n") != 2 ||
		!strings.HasSuffix(text, "done\n") || !inTime(began, lastWords) {
		t.Errorf("after %v: %q, %v", time.Since(began), text, err)
	}
}

//go:build unix

package test

import (
	"regexp"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// lines returns how many lines of a level a process has logged that hold text.
func (p *process) lines(level, text string) int {
	line := regexp.MustCompile(`(?m)^time=\S+ level=` + level + ` .*` + regexp.QuoteMeta(text))
	return len(line.FindAllString(p.stderr.String(), -1))
}

// TestDownIsToldOnce has each part say once that something is down, however often it is asked for,
// and the rest be for debugging.
func TestDownIsToldOnce(t *testing.T) {
	t.Parallel()
	const often = 5
	tried := func(t *testing.T, w *topology, p *process, text string, want int) {
		t.Helper()
		eventually(t, "attempts", func() bool {
			if c, err := dialWhere(w.address); err == nil {
				_, _ = c.Write([]byte("hello"))
				go func() { _ = endOf(c); _ = c.Close() }()
			}
			return p.lines("DEBUG", text) >= often
		})
		if n := p.lines("WARN", text); n != want {
			t.Errorf("%v has warned %d times of %q, want %d\n%s", p.cmd, n, text, want,
				p.stderr.tail())
		}
	}
	t.Run("no outlet of that name", func(t *testing.T) {
		t.Parallel()
		w := newTopology(t, plan{
			relay: true, inlets: 1, flags: []string{
				"--log-level", "debug", "--connect-timeout", unhurried(time.Second).String(),
			},
		})
		w.kill("outlet")
		tried(t, w, w.relay, `error="no outlet named db"`, 1)
		// That the far end is down, and that a connection was refused for that.
		tried(t, w, w.inlet, `error="hop 1 says: no outlet named db `, 2)
	})
	t.Run("no target", func(t *testing.T) {
		t.Parallel()
		w := newTopology(t, plan{
			inlets: 1, flags: []string{"--log-level", "debug"}, target: testkit.Address(t),
		})
		tried(t, w, w.outlet, "the target refused the connection", 1)
	})
}

// TestDownIsToldSince has who comes back say how long it was away.
func TestDownIsToldSince(t *testing.T) {
	t.Parallel()
	w := newTopology(t, plan{relay: true, inlets: 1, faults: true})
	w.kill("relay")
	w.inlet.says("far end not reached")
	w.outlet.says("not registered")
	w.revive("relay")
	w.outlet.says(`msg=registered relay=`)
	w.outlet.says(`"was down"=`)
	w.inlet.says(`msg="far end reached" route=`)
	w.inlet.says(`"was down"=`)
}

// TestResetsAreOrdinary has no part warn of what applications do: a client or a service resets its
// connection, or an inlet is killed, as ssh does with its ProxyCommand.
func TestResetsAreOrdinary(t *testing.T) {
	t.Parallel()
	w := newTopology(t, plan{relay: true, inlets: 1, flags: []string{"--log-level", "debug"}})
	parts := []*process{w.relay, w.outlet, w.inlet}
	for _, end := range []func(client, far conn){
		func(client, _ conn) { reset(t, client) },
		func(_, far conn) { reset(t, far) },
	} {
		before := w.inlet.said("connection ended")
		client, far := w.open()
		send(t, client, "hello")
		receives(t, far, "hello")
		end(client, far)
		w.inlet.saysAgain("connection ended", before)
	}
	cmd := w.command("inlet", "--listen", "-", "--to", w.route())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	_, _ = in.Write([]byte("hello"))
	far := w.accept()
	receives(t, far, "hello")
	before := w.relay.said("link ended")
	p.kill()
	receivesReset(t, far)
	w.relay.saysAgain("link ended", before)
	for _, p := range parts {
		if n := p.lines("WARN", ""); n > 0 {
			t.Errorf("%v has warned %d times\n%s", p.cmd, n, p.stderr.tail())
		}
	}
}

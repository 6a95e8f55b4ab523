//go:build unix

package test

import (
	"fmt"
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
	const once = 25 * time.Second // an outage that lasts longer is told again
	tried := func(t *testing.T, w *topology, began time.Time, p *process, text string, want int) {
		t.Helper()
		eventually(t, "attempts", func() bool {
			if c, err := dialWhere(w.address); err == nil {
				_, _ = c.Write([]byte("hello"))
				go func() { _ = endOf(c); _ = c.Close() }()
			}
			return p.lines("DEBUG", text) >= often
		})
		if n := p.lines("WARN", text); n < want || n > want && time.Since(began) < once {
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
		began := time.Now()
		w.kill("outlet")
		tried(t, w, began, w.relay, `error="no outlet named db"`, 1)
		// That the far end is down, and that a connection was refused for that.
		tried(t, w, began, w.inlet, `error="hop 1 says: no outlet named db `, 2)
	})
	t.Run("no target", func(t *testing.T) {
		t.Parallel()
		began := time.Now()
		w := newTopology(t, plan{
			inlets: 1, flags: []string{"--log-level", "debug"}, target: testkit.Address(t),
		})
		tried(t, w, began, w.outlet, "the target refused the connection", 1)
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
// connection, whether that outlives its link or not, or an inlet is killed, as ssh does with its
// ProxyCommand.
func TestResetsAreOrdinary(t *testing.T) {
	t.Parallel()
	for name, who := range map[string]func(testing.TB) person{
		"ends": newPerson, "outlives": survivor,
	} {
		for _, relay := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s with its link, relay %v", name, relay), func(t *testing.T) {
				t.Parallel()
				w := newTopology(t, plan{
					who: who(t), relay: relay, inlets: 1,
					flags: []string{"--log-level", "debug"},
				})
				w.resetOften()
				if relay && name == "ends" {
					w.killInlet()
				}
				for _, p := range []*process{w.relay, w.outlet, w.inlet} {
					if p != nil && p.lines("WARN", "") > 0 {
						t.Errorf("%v has warned\n%s", p.cmd, p.stderr.tail())
					}
				}
			})
		}
	}
}

// resetOften has clients and services reset their connections.
func (w *topology) resetOften() {
	t := w.t
	t.Helper()
	const often = 8
	for i := range 2 * often {
		before := w.inlet.said("connection ended")
		client, far := w.open()
		send(t, client, "hello")
		receives(t, far, "hello")
		if i%2 == 0 {
			reset(t, client)
		} else {
			reset(t, far)
		}
		w.inlet.saysAgain("connection ended", before)
	}
}

// killInlet kills an inlet with a connection, and waits until the relay knows.
func (w *topology) killInlet() {
	t := w.t
	t.Helper()
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
}

//go:build unix

package test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

// page returns what a process shows people.
func (p *process) page() string {
	p.t.Helper()
	code, text := p.asks("/")
	if code != http.StatusOK {
		p.t.Fatalf("%d %s", code, text)
	}
	return text
}

// shows waits until the page of a process has all of some texts.
func (p *process) shows(wants ...string) {
	p.t.Helper()
	text := ""
	defer func() {
		for _, want := range wants {
			if p.t.Failed() && !strings.Contains(text, want) {
				p.t.Errorf("%v does not show %q:\n%s", p.cmd, want, text)
			}
		}
	}()
	testkit.Eventually(p.t, "the page", func() bool {
		text = p.page()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				return false
			}
		}
		return true
	})
}

// TestPage has the page of each process show what it does, and what is wrong when the relay between
// them is gone, while the processes are confined.
func TestPage(t *testing.T) {
	t.Parallel()
	flags := append(confined, watched...)
	w := newTopology(t, plan{relay: true, flags: flags, inlets: 1})
	client, target := w.open()
	send(t, client, "question")
	receives(t, target, "question")
	const well = "Nothing is wrong"
	w.inlet.shows(well, "inlet here", w.address, "relay or bridge", "up ",
		client.LocalAddr().String(), w.identifier(), `class="line taken"`)
	w.outlet.shows(well, "outlet here", "service", w.targetAt, "holds", "8 B")
	w.relay.shows(well, "relay here", "in use ", w.identifier())

	w.relay.kill()
	w.inlet.shows("cannot be used", "is down, for", "✕ down", `class="line bad"`, "<title>(")
	w.outlet.shows("the name db is not held", "✕ not held", `class="box bad"`, "<title>(")
	w.inlet.stop()
	w.inlet.ends(0)
}

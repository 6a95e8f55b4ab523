//go:build unix

package test

import (
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/testkit"
)

// stops tells a process to stop, and waits until it has begun to.
func (p *process) stops() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.says("stopping")
}

// TestSurvivesLeaving has an outlet stop in good order while there is no relay. As long as --drain
// lasts it goes on to be found: what is open goes on once there is a way, unless another outlet has
// taken the name.
func TestSurvivesLeaving(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(t *testing.T, w *topology, client, target conn){
		"outlet": func(t *testing.T, w *topology, client, target conn) {
			w.suspend()
			w.outlet.stops()
			w.relay = w.relay.again()
			send(t, client, "still there?")
			receives(t, target, "still there?")
			_ = client.Close()
			receivesEnd(t, target)
			_ = target.Close()
			w.outlet.ends(0)
		},
		"outlet, and another takes its place": func(t *testing.T, w *topology, client, target conn) {
			w.suspend()
			before := w.outlet
			before.stops()
			w.relay = w.relay.again()
			w.outlet = before.again()
			w.inlet.says(reachedLine)
			w.carries()
			// The one before may have had the name for a moment: then its connection goes on.
			_ = target.Close()
			e := testkit.Within(t, ended(client), "the end of the connection")
			if e.err != nil && !netio.IsReset(e.err) {
				t.Errorf("the connection ended with %v", e.err)
			}
			before.ends(0)
			w.carries()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drain := []string{"--drain", unhurried(time.Minute).String()}
			w := newLasting(t, plan{inlets: 1, outlet: drain})
			client, target := w.open()
			send(t, client, "hello")
			receives(t, target, "hello")
			send(t, target, "there") // what has not been answered ends before that
			receives(t, client, "there")
			play(t, w, client, target)
		})
	}
}

//go:build unix

package test

import (
	"syscall"
	"testing"
)

// stops tells a process to stop, and waits until it has begun to.
func (p *process) stops() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.says("stopping")
}

// TestSurvivesLeaving has an end stop in good order while there is no relay. As long as --drain
// lasts it goes on to be found, and to look for the other one: what is open goes on once there is a
// way, and what was said last in connections that have ended arrives, with their end.
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
		"outlet, last words": func(t *testing.T, w *topology, client, target conn) {
			halfClose(t, client)
			receivesEnd(t, target)
			w.suspend()
			send(t, target, "last words")
			_ = target.Close()
			w.outlet.stops()
			w.relay = w.relay.again()
			receives(t, client, "last words")
			receivesEnd(t, client)
			w.outlet.ends(0)
		},
		"inlet, last words": func(t *testing.T, w *topology, client, target conn) {
			halfClose(t, target)
			receivesEnd(t, client)
			w.suspend()
			send(t, client, "last words")
			_ = client.Close()
			w.inlet.stops()
			w.relay = w.relay.again()
			receives(t, target, "last words")
			receivesEnd(t, target)
			w.inlet.ends(0)
		},
		"outlet, and another takes its place": func(t *testing.T, w *topology, client, target conn) {
			w.suspend()
			before := w.outlet
			before.stops()
			w.relay = w.relay.again()
			w.outlet = before.again()
			receivesReset(t, client)
			w.inlet.says(reachedLine)
			w.carries()
			_ = target.Close()
			before.ends(0)
			w.carries()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLasting(t, plan{inlets: 1})
			client, target := w.open()
			send(t, client, "hello")
			receives(t, target, "hello")
			send(t, target, "there") // what has not been answered ends before that
			receives(t, client, "there")
			play(t, w, client, target)
		})
	}
}

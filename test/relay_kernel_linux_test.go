package test

import (
	"fmt"
	"testing"
)

// TestRelayCopiesInTheKernel sends data through a relay, which reads none of it: it is spliced. In
// a mux it has to be read.
func TestRelayCopiesInTheKernel(t *testing.T) {
	t.Parallel()
	const (
		size = 16 << 20
		most = 1 << 20 // of handshakes, pings and what is small
	)
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprint("mux=", mux), func(t *testing.T) {
			t.Parallel()
			m := newMirror(t, size)
			w := newTopology(t, plan{
				relay: true, target: m.address, inlets: 1,
				outlet: []string{fmt.Sprintf("--mux=%t", mux)},
			})
			before := w.relay.bytesRead()
			if err := m.receive(dial(t, w.address)); err != nil {
				t.Fatal(err)
			}
			read := w.relay.bytesRead() - before
			if read > most && !mux || read < size && mux {
				t.Errorf("the relay read %d bytes of %d", read, size)
			}
		})
	}
}

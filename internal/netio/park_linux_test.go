package netio

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// A parked socket's ready is called once, for whatever a read would return.
func TestPark(t *testing.T) {
	for name, happen := range map[string]func(a, b *Socket) error{
		"data":     func(_, b *Socket) error { _, err := b.Write([]byte("x")); return err },
		"end":      func(_, b *Socket) error { return b.CloseWrite() },
		"reset":    func(_, b *Socket) error { return b.Reset() },
		"close":    func(a, _ *Socket) error { return a.Close() },
		"own":      func(a, _ *Socket) error { return a.Reset() },
		"deadline": func(a, _ *Socket) error { return a.SetReadDeadline(time.Unix(1, 0)) },
		"later":    func(a, _ *Socket) error { return a.SetDeadline(time.Now().Add(time.Hour)) },
	} {
		for _, network := range networks {
			t.Run(name+" "+network, func(t *testing.T) {
				a, b := socketPair(t, network)
				calls := make(chan struct{}, 2)
				if !Park(a, func() { calls <- struct{}{} }) {
					t.Fatal("cannot be parked")
				}
				if err := happen(a, b); err != nil {
					t.Fatal(err)
				}
				testkit.Within(t, calls, "being called")
				_ = a.Close()
				_ = b.Close()
				testkit.Eventually(t, "the end of who waits", func() bool {
					park.mu.Lock()
					defer park.mu.Unlock()
					return !park.waits
				})
				if len(calls) > 0 {
					t.Error("called twice")
				}
			})
		}
	}
}

// What has come before a socket is parked counts as well, and it is parked again and again.
func TestParkAgain(t *testing.T) {
	a, b := socketPair(t, "tcp")
	for range 100 {
		testkit.Write(t, b, "x")
		calls := make(chan struct{})
		if !a.Park(func() { close(calls) }) {
			t.Fatal("cannot be parked")
		}
		testkit.Within(t, calls, "being called")
		testkit.Expect(t, a, "x")
	}
}

// Who has a deadline waits himself, and so does who has a closed socket, or another connection.
func TestParkNot(t *testing.T) {
	ready := func() { t.Error("called") }
	a, b := socketPair(t, "tcp")
	_ = a.SetReadDeadline(time.Now().Add(time.Hour))
	if a.Park(ready) {
		t.Error("parked with a deadline")
	}
	_ = a.SetReadDeadline(time.Time{})
	_ = b.Close()
	if b.Park(ready) {
		t.Error("parked, and closed")
	}
	c, d := net.Pipe()
	defer c.Close()
	defer d.Close()
	if Park(c, ready) {
		t.Error("a pipe is parked")
	}
	if _, err := io.ReadAll(a); err != nil {
		t.Error(err)
	}
}

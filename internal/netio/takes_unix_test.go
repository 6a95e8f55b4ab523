//go:build unix

package netio

import (
	"io"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// fill writes to a socket until it takes nothing for a while, although it has been asked to: its
// deadline may be over before the first byte on a busy machine.
func fill(s *Socket) {
	for n := 1; n > 0 || s.Takes() > 0; {
		_ = s.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		n, _ = s.Write(make([]byte, 1<<20))
	}
}

// A socket takes bytes until nobody reads them, and again when somebody does; one that has failed
// takes them, so that the write fails.
func TestSocketTakes(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			a, b := socketPair(t, network)
			if a.Takes() == 0 {
				t.Fatal("a new socket takes nothing")
			}
			testkit.Eventually(t, "a socket that is full, and takes nothing", func() bool {
				fill(a)
				return a.Takes() == 0 // the kernel may find some room after all
			})
			testkit.Hurry(t, a)
			awaited := make(chan struct{})
			go func() {
				defer close(awaited)
				a.AwaitTakes()
			}()
			go func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{b}) }()
			testkit.Within(t, awaited, "a reader who reads")
			if a.Takes() == 0 {
				t.Error("a socket that is read takes nothing")
			}
			_ = a.Close()
			a.AwaitTakes()
		})
	}
}

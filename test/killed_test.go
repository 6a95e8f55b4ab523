//go:build unix

package test

import (
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// TestKilled kills each process under load and starts it again: no wrong byte, no false end, nobody
// hangs, and the first connection after it is back goes well within two seconds.
func TestKilled(t *testing.T) {
	t.Parallel()
	rounds := testenv.OfRun(1, 3, 50)
	for _, part := range parts {
		t.Run(part, func(t *testing.T) {
			c := newCourse(t, "--log-level", "error")
			d, stop := under(t, c.address, 4, testenv.OfRun[int64](128<<10, 256<<10, 4<<20), 1)
			var took []time.Duration
			for range rounds {
				d.awaitGood(t, 4)
				c.kill(part)
				c.revive(part)
				took = append(took, c.firstGood())
			}
			stop()
			t.Logf("%s killed: first good connection after %s; %v", part, spread(took), d)
			// On a busy machine that runs the race detector time says nothing.
			if within := 2 * time.Second; testenv.Full() && !raceDetector &&
				took[len(took)-1] > within {
				t.Errorf("the first good connection came after %v, want %v", took[len(took)-1],
					within)
			}
		})
	}
}

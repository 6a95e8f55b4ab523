//go:build unix

package test

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

// TestKilled kills each process under load and starts it again: no wrong byte, no false end, nobody
// hangs, and the first connection after it is back goes well within two seconds.
func TestKilled(t *testing.T) {
	t.Parallel()
	rounds := testenv.OfFull(3, 50)
	for _, part := range parts {
		t.Run(part, func(t *testing.T) {
			c := newCourse(t, "--log-level", "error")
			d, stop := under(t, c.address, 4, testenv.OfFull[int64](256<<10, 4<<20), 1)
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

// TestSoak has a random fault each second while talks go on, for as long as SP_SOAK says.
func TestSoak(t *testing.T) {
	t.Parallel()
	lasts := testenv.OfFull(10*time.Second, time.Minute)
	if s := os.Getenv("SP_SOAK"); s != "" {
		var err error
		if lasts, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	for seed := range faultnet.Seeds(t, 1) {
		t.Logf("seed %d: %s=%d replays it", seed, faultnet.SeedVariable, seed)
		soak(t, seed, lasts)
	}
}

func soak(t *testing.T, seed uint64, lasts time.Duration) {
	t.Helper()
	c := newCourse(t, "--log-level", "error", "--keepalive", "1s", "--connect-timeout", "5s")
	d, stop := under(t, c.address, testenv.OfFull(2, 4), testenv.OfFull[int64](256<<10, 1<<20),
		seed)
	r := rand.New(rand.NewPCG(seed, 1))
	count := make(map[string]int)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for over := time.After(lasts); ; {
		select {
		case <-over:
			c.heal()
			took := c.firstGood()
			stop()
			t.Logf("%v with seed %d, race detector %t: %v; faults %v; well again after %v",
				lasts, seed, raceDetector, d, count, took.Round(time.Millisecond))
			return
		case <-second.C:
			c.heal()
			count[c.harm(r)]++
		}
	}
}

// harm does one thing that goes wrong, and returns what.
func (c *topology) harm(r *rand.Rand) string {
	where := []*faultnet.ProxyServer{c.near, c.far}[r.IntN(2)]
	switch kind := r.IntN(8); kind {
	case 0, 1, 2, 3:
		c.kill(parts[kind])
		c.revive(parts[kind])
		return parts[kind] + " killed"
	case 4:
		where.Cut()
		return "cut"
	case 5:
		where.Reset()
		return "reset"
	case 6:
		where.BlackHole(true)
		return "black hole"
	default:
		where.BlackHole(true, faultnet.Direction(r.IntN(2)))
		return "black hole one way"
	}
}

// heal ends what harm has left.
func (c *topology) heal() {
	c.near.BlackHole(false)
	c.far.BlackHole(false)
}

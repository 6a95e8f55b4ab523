//go:build unix

package test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// TestSurvivesOpening kills the relay under connections that are short, so that many are being
// opened or ended at that moment: none of them is told of an error either. No connection is there
// at more than one kill.
func TestSurvivesOpening(t *testing.T) {
	alone(t)
	const most = 16 << 10 // bytes of a talk, each way
	kills := testenv.OfFull(3, 100)
	w := newLasting(t, plan{
		program: "talk", inlets: 1, flags: []string{"--log-level", "debug"},
	})
	ctx, stop := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	talked := make([]atomic.Int64, 8)
	var failed atomic.Int64
	for i := range talked {
		tasks.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for ctx.Err() == nil {
				err := talkOnce(w.address, talk{r.Uint64(), r.Int64N(most), r.Int64N(most)})
				if err != nil {
					failed.Add(1)
					t.Error(err)
				}
				talked[i].Add(1)
			}
		})
	}
	for range kills {
		eachGrows(t, talked, 2)
		w.kill("relay")
		w.revive("relay")
	}
	eachGrows(t, talked, 2)
	stop()
	tasks.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d connections were told of an error:\n%s", n,
			strings.Join(w.inlet.linesWith("connection failed"), ""))
	}
}

// eachGrows waits until each counter has grown by n.
func eachGrows(t *testing.T, counters []atomic.Int64, n int64) {
	t.Helper()
	for i := range counters {
		want := counters[i].Load() + n
		eventually(t, "each goes on", func() bool { return counters[i].Load() >= want })
	}
}

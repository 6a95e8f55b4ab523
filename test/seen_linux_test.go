package test

import (
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// Of what it takes to look at a process, by an operator or a machine.
const (
	statusMost = time.Second           // for sp status of all processes
	scrapeMost = 20 * time.Millisecond // of a process's CPU for a scrape
	scrapes    = 50                    // that are measured together: CPU is told in steps of 10 ms
)

// TestSeenInNumbers has many connections be counted exactly, and be shown by sp status, while all
// are open: with SP_FULL=1 10,000 of them, on one WebSocket, and how long that takes is looked at.
func TestSeenInNumbers(t *testing.T) {
	alone(t)
	n := testenv.OfRun(50, 500, 10_000)
	w := newTopology(t, plan{program: "echo", at: "ws://" + anywhere, flags: watched, inlets: 1})
	all := make([]conn, n)
	each(t, n, 32, func(k int) (err error) {
		if all[k], err = dialWhere(w.address); err != nil {
			return err
		}
		return answers(all[k], uint64(k))
	})
	for role, p := range map[string]*process{"inlet": w.inlet, "outlet": w.outlet} {
		p.has(carried(role, n, n, 8*n, 8*n))
		before := p.cpu()
		for range scrapes {
			_, _ = p.asks("/metrics")
		}
		scrape := (p.cpu() - before) / scrapes
		t.Logf("a scrape of the %s with %d connections takes %v of CPU", role, n, scrape)
		if testenv.Full() && scrape > scrapeMost {
			t.Errorf("a scrape of the %s takes more than %v of CPU", role, scrapeMost)
		}
	}
	began := time.Now()
	shown := w.must("status")
	took := time.Since(began)
	t.Logf("sp status takes %v, for %d KiB", took, len(shown)>>10)
	if testenv.Full() && took > unhurried(statusMost) {
		t.Errorf("it takes more than %v", statusMost)
	}
	s := w.status()
	for role, p := range map[string]*process{"inlet": w.inlet, "outlet": w.outlet} {
		if open := len(s.Processes[s.of(p)].Connections); open != n {
			t.Errorf("%d connections of the %s are shown, and there are %d", open, role, n)
		}
	}
	for _, c := range all {
		_ = c.Close()
	}
	for role, p := range map[string]*process{"inlet": w.inlet, "outlet": w.outlet} {
		p.has(carried(role, 0, n, 8*n, 8*n))
	}
}

package test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// wakes counts how often a process has gone to sleep, in all of its threads: each time, something
// has woken it before (proc_pid_status(5)).
func (p *process) wakes() (sum int64) {
	p.t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		p.t.Fatal("no threads", err)
	}
	for _, file := range threads {
		status, _ := os.ReadFile(file) // the thread may have ended
		_, rest, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
		text, _, _ := strings.Cut(rest, "\n")
		n, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		sum += n
	}
	return sum
}

// wakeRates returns how often each process wakes in a second, for some time.
func wakeRates(parts map[string]*process, watch time.Duration) map[string]float64 {
	before, rates := make(map[string]int64), make(map[string]float64)
	for name, p := range parts {
		before[name] = p.wakes()
	}
	time.Sleep(watch)
	for name, p := range parts {
		rates[name] = math.Round(10*float64(p.wakes()-before[name])/watch.Seconds()) / 10
	}
	return rates
}

// TestIdleSleeps has processes do nothing, with a connection that carries nothing and without one.
// One event of Go's wakes two or three threads, twice.
func TestIdleSleeps(t *testing.T) {
	t.Parallel()
	settle := testenv.OfFull(3*time.Second, 3*time.Minute)
	watch := testenv.OfFull(5*time.Second, time.Minute)
	// Files were looked at five times a second once, and there were 57 and more.
	most := testenv.OfFull(40.0, 5.0)
	// Where a process that something has woken waits for its turn on a processor, Go's own watcher
	// looks every few milliseconds whether it has got it. That is now and then, a ticker is always.
	windows := testenv.OfFull(6, 1)
	for _, relay := range []bool{false, true} {
		for _, connected := range []bool{false, true} {
			t.Run(fmt.Sprintf("relay %v, connection %v", relay, connected), func(t *testing.T) {
				t.Parallel()
				w := newTopology(t, plan{relay: relay, inlets: 1})
				if connected {
					client, target := w.open()
					send(t, client, "hello")
					receives(t, target, "hello")
				}
				time.Sleep(settle)
				parts := map[string]*process{"inlet": w.inlet, "outlet": w.outlet}
				if relay {
					parts["relay"] = w.relay
				}
				for left := windows; left > 0 && len(parts) > 0; left-- {
					rates := wakeRates(parts, watch)
					t.Logf("%v a second", rates)
					for name, n := range rates {
						if n <= most {
							delete(parts, name)
						}
					}
				}
				for name := range parts {
					t.Errorf("the %s does not sleep", name)
				}
			})
		}
	}
}

// TestIdleThroughLoss holds connections that carry nothing over a line that loses packets. Only the
// sessions decide whether they are alive, and none is cut.
func TestIdleThroughLoss(t *testing.T) {
	t.Parallel()
	nft := testenv.NeedTool(t, "nft")
	testenv.NeedNetns(t)
	many := testenv.OfFull(100, 500)
	percent := testenv.OfFull(10, 5) // of more, a link is stuck at times: sp resets that, rightly
	while := testenv.OfFull(15*time.Second, 10*time.Minute)

	space := fmt.Sprintf("sp%d-idle", os.Getpid())
	ip(t, "netns", "add", space)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", space).Run() })
	ip(t, "-n", space, "link", "set", "lo", "up", "mtu", "1500", "gso_max_segs", "1")
	me := newPerson(t)
	there := me.in(space)
	m := me.unixMirror(1)
	_, to := there.startOutlet(m.address)
	listens := "unix:" + me.home + "/inlet"
	inlet := there.start("inlet", "--listen", listens, "--to", to)
	inlet.ready()
	held := make([]conn, many)
	for i := range held {
		held[i] = dial(t, listens)
		send(t, held[i], string(askEcho))
		if err := echoes(held[i], "before"); err != nil {
			t.Fatal(err)
		}
	}
	loses(t, nft, space, percent)
	time.Sleep(while)
	setRules(t, nft, space, "delete table inet lossy")
	cut := 0
	for _, c := range held {
		_ = c.SetDeadline(time.Now().Add(patience)) // what dial has set may have passed
		if err := echoes(c, "after"); err != nil {
			cut++
			t.Log(err)
		}
	}
	t.Logf("%d connections, %d %% of packets lost for %v: %d cut", many, percent, while, cut)
	if cut > 0 {
		t.Errorf("%d of %d connections were cut", cut, many)
	}
}

//go:build unix

package test

import (
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// TestSoak has a random fault each second while talks go on, for as long as SP_SOAK says.
func TestSoak(t *testing.T) {
	t.Parallel()
	lasts := testenv.OfRun(2500*time.Millisecond, 10*time.Second, time.Minute)
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
	o := newOrdeal(t)
	d, stop := under(t, o.address, testenv.OfRun(1, 2, 4),
		testenv.OfRun[int64](64<<10, 256<<10, 1<<20),
		seed)
	r := rand.New(rand.NewPCG(seed, 1))
	all := append(o.harms(), o.harmsOfSystem()...)
	count := make(map[string]int)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for over := time.After(lasts); ; {
		select {
		case <-over:
			if len(count) == 0 {
				t.Error("nothing has gone wrong")
			}
			o.heal()
			took := o.firstGood()
			stop()
			t.Logf("%v with seed %d, race detector %t: %v; faults %v; well again after %v",
				lasts, seed, raceDetector, d, count, took.Round(time.Millisecond))
			return
		case <-second.C:
			o.healLines()
			h := all[r.IntN(len(all))]
			h.does(r)
			count[h.name]++
		}
	}
}

// ordeal is a course for a soak, with a second relay and outlet for inlets that get there:
//
//	client ─▶ inlet ─▶ near  ─▶ relay  ◀─ far ◀─ outlet ─▶ target
//	               └─▶ near2 ─▶ relay2 ◀─────── outlet2 ──┘
type ordeal struct {
	*topology
	relay2At string
	near2    *faultnet.ProxyServer // nil where names are not the test's to say
	began    map[string]*exec.Cmd  // each part, as it was started first
	logs     sync.WaitGroup        // readers of logs
}

// harm is something that goes wrong.
type harm struct {
	name string
	does func(*rand.Rand)
}

func newOrdeal(t *testing.T) *ordeal {
	t.Helper()
	flags := []string{
		"--log-level", "error", "--keepalive", unhurried(time.Second).String(),
		"--connect-timeout", unhurried(5 * time.Second).String(),
	}
	o := &ordeal{topology: newTopology(t, plan{
		relay: true, faults: true, program: "talk", flags: flags,
	})}
	t.Cleanup(o.noComplaints)
	o.relay2At = testkit.Address(t)
	o.start(o.person.relayAt(o.relay2At, flags...)...).ready()
	o.startNamed(o.relay2At, "db", o.targetAt, flags...)
	o.connectByName(flags)
	o.began = make(map[string]*exec.Cmd)
	for _, part := range parts {
		o.began[part] = (*o.part(part)).cmd
	}
	t.Cleanup(o.logs.Wait)
	return o
}

// restart kills a part and starts it again, other than it was first: until the next time.
func (o *ordeal) restart(part string, change func(*exec.Cmd)) {
	o.t.Helper()
	o.kill(part)
	first := o.began[part]
	cmd := exec.Command(first.Path, first.Args[1:]...)
	cmd.Env, cmd.Dir = slices.Clone(first.Env), first.Dir
	if change != nil {
		change(cmd)
	}
	p := start(o.t, cmd)
	p.ready()
	o.begun(part, p)
}

// roles are the parts that are sp.
var roles = parts[:3]

// soakMemory is the least that a role may be told to live with.
const soakMemory = "16M"

// harms are those that need nothing of the system.
func (o *ordeal) harms() []harm {
	var all []harm
	for _, part := range parts {
		all = append(all, harm{part + " killed", func(*rand.Rand) { o.restart(part, nil) }})
	}
	return append(all,
		harm{"cut", func(r *rand.Rand) { o.line(r).Cut() }},
		harm{"reset", func(r *rand.Rand) { o.line(r).Reset() }},
		harm{"black hole", func(r *rand.Rand) { o.line(r).BlackHole(true) }},
		harm{"black hole one way", func(r *rand.Rand) {
			o.line(r).BlackHole(true, faultnet.Direction(r.IntN(2)))
		}},
		harm{"log blocked", func(r *rand.Rand) { o.blockLog(role(r)) }},
		harm{"memory short", func(r *rand.Rand) {
			o.restart(role(r), func(cmd *exec.Cmd) {
				cmd.Args = append(cmd.Args, "--memory", soakMemory)
			})
		}},
		harm{"balancer in front", func(*rand.Rand) { o.near.SetTarget(o.relayAt, o.relay2At) }},
		harm{"balancer gone", func(*rand.Rand) { o.near.SetTarget(o.relayAt) }})
}

// role returns one of the parts that are sp.
func role(r *rand.Rand) string { return roles[r.IntN(len(roles))] }

// lines are the proxies on which links are.
func (o *ordeal) lines() []*faultnet.ProxyServer {
	lines := []*faultnet.ProxyServer{o.near, o.far}
	if o.near2 != nil {
		lines = append(lines, o.near2)
	}
	return lines
}

func (o *ordeal) line(r *rand.Rand) *faultnet.ProxyServer {
	lines := o.lines()
	return lines[r.IntN(len(lines))]
}

// healLines ends holes. What else harms have left stays until it is another one's turn.
func (o *ordeal) healLines() {
	for _, line := range o.lines() {
		line.BlackHole(false)
	}
}

// heal ends all that harms have left.
func (o *ordeal) heal() {
	o.healLines()
	o.near.SetTarget(o.relayAt)
	o.names("127.0.0.1")
}

// blockLog has a role say much, from its start on into a pipe that is full. It is read a few
// seconds later, to its end.
func (o *ordeal) blockLog(part string) {
	o.t.Helper()
	log, full := pipe(o.t)
	fillPipe(o.t, full)
	o.restart(part, func(cmd *exec.Cmd) {
		cmd.Args[slices.Index(cmd.Args, "--log-level")+1] = "debug"
		cmd.Stderr = full
	})
	_ = full.Close()
	p := *o.part(part)
	o.logs.Go(func() {
		defer log.Close()
		select {
		case <-time.After(logBlocked):
		case <-p.done:
		}
		_, _ = io.Copy(&p.stderr, log)
	})
}

// logBlocked is for how long.
const logBlocked = 5 * time.Second

//go:build unix

package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

// hole is a place where nothing comes through.
type hole struct {
	name string
	at   func(c *topology) *faultnet.ProxyServer
	dirs []faultnet.Direction // none is both
}

func holes() []hole {
	var all []hole
	for _, hop := range []struct {
		name string
		at   func(c *topology) *faultnet.ProxyServer
	}{
		{"inlet to relay", func(c *topology) *faultnet.ProxyServer { return c.near }},
		{"outlet to relay", func(c *topology) *faultnet.ProxyServer { return c.far }},
	} {
		all = append(all,
			hole{hop.name + ", forth", hop.at, []faultnet.Direction{faultnet.ClientToServer}},
			hole{hop.name + ", back", hop.at, []faultnet.Direction{faultnet.ServerToClient}},
			hole{hop.name + ", both ways", hop.at, nil})
	}
	return all
}

// TestBlackHole has nothing come through one hop any more, without a word from any socket: the
// connections that were open are reset at both ends once three pings are lost, new ones are refused
// in time, and all is well again when the hole is gone.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	keepalives := []time.Duration{time.Second}
	if testenv.Full() {
		keepalives = append(keepalives, channel.DefaultKeepalive)
	}
	for _, keepalive := range keepalives {
		for _, h := range holes() {
			t.Run(h.name+", "+keepalive.String(), func(t *testing.T) {
				t.Parallel()
				h.swallows(t, keepalive)
			})
		}
	}
}

const (
	holeConnect = 2 * time.Second // --connect-timeout
	holeAnswer  = 5 * time.Second // that an outlet has for its answer, beyond --connect-timeout
	holeSlack   = 2 * time.Second // for processes that are told late
	// holeUnderWay is how long a node waits, before it resets a connection, for what it has written
	// there to be acknowledged. Where the hole swallows the acknowledgements, that is all of it.
	holeUnderWay = 3 * time.Second
)

// holeKnown is how long after a hole has opened the client is told, by its inlet's pings. The last
// word may be heard in the moment before. The first ping comes a keepalive later, the second after
// one more, and the third and the verdict after a third of one each. Pings that do not hasten, or
// those of a session that nobody would miss, would take longer than the slack.
func holeKnown(keepalive time.Duration) time.Duration { return keepalive*8/3 + holeSlack }

// holeKnownFar is the same for the service, which may hear of it by a relay.
func holeKnownFar(keepalive time.Duration) time.Duration {
	return holeKnown(keepalive) + holeUnderWay
}

func (h hole) swallows(t *testing.T, keepalive time.Duration) {
	t.Helper()
	c := newCourse(t, "--keepalive", keepalive.String(), "--connect-timeout", holeConnect.String(),
		"--log-level", "error")
	accept1 := c.replaceTarget()
	client := c.dial()
	service := accept1()
	send(t, client, "before")
	receives(t, service, "before")
	send(t, service, "there") // what has not been answered ends before the session does
	receives(t, client, "there")
	began := time.Now()
	h.at(c).BlackHole(true, h.dirs...)

	var known []time.Duration
	for who, told := range map[string]struct {
		ended  <-chan ending
		within time.Duration
	}{
		"client":  {ended(client), holeKnown(keepalive)},
		"service": {ended(service), holeKnownFar(keepalive)},
	} {
		e := isReset(t, "the connection of the "+who, told.ended)
		took := e.at.Sub(began)
		known = append(known, took.Round(time.Millisecond))
		if e.read > 0 {
			t.Errorf("the %s has read %d bytes that nobody sent", who, e.read)
		}
		if !inTimeAt(began, e.at, told.within) {
			t.Errorf("the %s knows after %v, want %v", who, took, told.within)
		}
	}

	late := time.Now()
	refused := isRefused(t, c.address)
	if within := holeConnect + holeAnswer + holeSlack; !inTimeAt(late, refused, within) {
		t.Errorf("a new connection was refused after %v, want %v", refused.Sub(late), within)
	}

	h.at(c).BlackHole(false)
	c.revive("target")
	well := c.firstGood()
	t.Logf("reset after %v; a new connection refused after %v; well again after %v",
		known, refused.Sub(late).Round(time.Millisecond), well.Round(time.Millisecond))
}

// TestRandomPlans runs talks over links on which things go wrong at random: every byte that arrives
// is right and in order, and each direction ends in one of the end that was sent and an error.
//
//	client ─▶ inlet ─▶ proxy ─▶ outlet ─▶ target
func TestRandomPlans(t *testing.T) {
	t.Parallel()
	lasts := testenv.OfRun(4*time.Second, 8*time.Second, time.Minute)
	seeds := make(chan uint64)
	var runs []*gauntlet
	var tasks sync.WaitGroup
	for range 2 {
		g := newGauntlet(t)
		runs = append(runs, g)
		tasks.Go(func() {
			for seed := range seeds {
				g.run(t, seed)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	tried := 0
	for seed := range faultnet.Seeds(t, 1<<30) {
		select {
		case seeds <- seed:
			tried++
			continue
		case <-ctx.Done():
		}
		break
	}
	close(seeds)
	if tried == 0 {
		t.Error("nothing was tried")
	}
	tasks.Wait()
	for _, g := range runs {
		g.plan.Store(nil)
		g.proxy.Reset()
		eventually(t, "a clean line works", func() bool {
			return talkOnce(g.inlet, talk{1, 100, 100}) == nil
		})
		t.Log(g)
	}
}

// gauntlet is an inlet and an outlet with a proxy between them.
type gauntlet struct {
	proxy *faultnet.ProxyServer
	inlet string
	plan  atomic.Pointer[faultnet.Plan]

	seeds, faults, endless int // endless: seeds whose talks ended only with the line

	good, told atomic.Int64
	atTarget   chan error // what must not be, as the target sees it
}

const (
	gauntletTalk = 64 << 10        // bytes of a talk, at most
	gauntletLine = 2 * time.Second // how long a line is waited for on which nothing comes any more
)

func (g *gauntlet) String() string {
	return fmt.Sprintf("%d seeds, %d faults: %d talks went well, %d were told of an error; "+
		"with %d seeds the line swallowed something for ever, and talks ended with the line",
		g.seeds, g.faults, g.good.Load(), g.told.Load(), g.endless)
}

func newGauntlet(t *testing.T) *gauntlet {
	t.Helper()
	g := &gauntlet{atTarget: make(chan error, 1<<16)}
	flags := []string{
		"--keepalive", unhurried(300 * time.Millisecond).String(),
		"--connect-timeout", unhurried(time.Second).String(),
		"--log-level", "error",
	}
	w := newTopology(t, plan{flags: flags, target: service(t, func(c conn) {
		if _, bad := judge(answerTalk(c.(*net.TCPConn))); bad != nil {
			g.atTarget <- bad
		}
	})})
	g.proxy = proxy(t, hostPortOf(w.route()), faultnet.ProxyConfig{
		Plan: func(int) faultnet.Plan {
			if p := g.plan.Load(); p != nil {
				return *p
			}
			return nil
		},
	})
	w.connect(g.proxy.Addr(), flags...)
	g.inlet = w.address
	return g
}

// run has a few talks at once over links with a seed's plan, the session's own link among them. A
// link that takes all and gives nothing, while the session's own is well, looks like an application
// that has nothing to say: so the line ends after a while.
func (g *gauntlet) run(t *testing.T, seed uint64) {
	t.Helper()
	plan := faultnet.RandomPlan(seed, faultnet.RandomOptions{Span: gauntletTalk})
	g.plan.Store(&plan)
	before := len(g.proxy.Fired())
	if seed%2 == 0 { // else the session stays, if it still lives, and only new links have the plan
		g.proxy.Reset()
	}
	r := rand.New(rand.NewPCG(seed, 2))
	var talks sync.WaitGroup
	for range 3 {
		k := talk{r.Uint64(), r.Int64N(gauntletTalk), r.Int64N(gauntletTalk)}
		talks.Go(func() {
			honest, bad := judge(talkOnce(g.inlet, k))
			switch {
			case bad != nil:
				t.Errorf("FAULTNET_SEED=%d, plan %v, talk %+v: %v", seed, plan, k, bad)
			case honest != nil:
				g.told.Add(1)
			default:
				g.good.Add(1)
			}
		})
	}
	stop := time.AfterFunc(unhurried(gauntletLine), func() {
		g.plan.Store(nil)
		g.proxy.Reset()
	})
	talks.Wait()
	if !stop.Stop() {
		g.endless++
	}
	g.seeds++
	g.faults += len(g.proxy.Fired()) - before
	for len(g.atTarget) > 0 {
		t.Errorf("FAULTNET_SEED=%d, plan %v, at the target: %v", seed, plan, <-g.atTarget)
	}
}

// TestPacketLoss has a network namespace lose packets at random: transfers complete, and many short
// connections beside a long one do not wait for what it has lost.
func TestPacketLoss(t *testing.T) {
	alone(t)
	nft := testenv.NeedTool(t, "nft")
	testenv.NeedNetns(t)
	for _, percent := range testenv.OfFull([]int{5}, []int{0, 1, 5}) {
		t.Run(fmt.Sprintf("%d%%", percent), func(t *testing.T) { losesPackets(t, nft, percent) })
	}
}

const lossShort = 20 // short connections, at least

func losesPackets(t *testing.T, nft string, percent int) {
	t.Helper()
	space := fmt.Sprintf("sp%d-loss%d", os.Getpid(), percent)
	ip(t, "netns", "add", space)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", space).Run() })
	// packets as on a network
	ip(t, "-n", space, "link", "set", "lo", "up", "mtu", "1500", "gso_max_segs", "1")
	me := newPerson(t)
	there := me.in(space)
	size := testenv.OfRun[int64](2<<20, 4<<20, 64<<20)
	m := me.unixMirror(size)
	there.start(me.relayAt("127.0.0.1:4000")...).ready()
	there.startNamed("127.0.0.1:4000", "db", m.address)
	listens := "unix:" + me.home + "/inlet"
	inlet := there.start("inlet", "--listen", listens, "--to", "db@127.0.0.1:4000")
	inlet.ready()
	loses(t, nft, space, percent)

	bulk := make(chan error, 1)
	began := time.Now()
	go func() { bulk <- m.both(dial(t, listens)) }()
	var short []time.Duration
	for done := false; !done || len(short) < lossShort; {
		before := time.Now()
		c := dial(t, listens)
		send(t, c, string(askEcho))
		if err := echoes(c, "beside"); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		short = append(short, time.Since(before))
		select {
		case err := <-bulk:
			if err != nil {
				t.Error(err)
			}
			done = true
		default:
		}
	}
	took := time.Since(began)
	dropped, _ := exec.Command("ip", "netns", "exec", space, nft, "list", "ruleset").Output()
	t.Logf("%d %% of packets lost (%s): %d MiB each way in %v; short connections beside it: %s",
		percent, counted(string(dropped)), size>>20, took.Round(time.Millisecond), spread(short))
}

// loses has a namespace drop packets of TCP at random.
func loses(t *testing.T, nft, space string, percent int) {
	t.Helper()
	rules := "table inet lossy { chain in { type filter hook input priority 0; }; }"
	const tcp = "add rule inet lossy in meta l4proto tcp "
	rule := fmt.Sprintf(tcp+"numgen random mod 100 < %d counter drop", percent)
	if percent == 0 {
		rule = tcp + "counter"
	}
	setRules(t, nft, space, rules+"\n"+rule)
}

// counted returns the counter in a rule set.
func counted(rules string) string {
	_, rest, _ := strings.Cut(rules, "counter ")
	text, _, _ := strings.Cut(rest, " bytes")
	return text
}

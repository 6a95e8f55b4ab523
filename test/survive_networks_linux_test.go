package test

import (
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

// vigil is some steady connections to which things are done, one after the other.
type vigil struct {
	*chorus
	trials []trial
}

// trial is something that was done, until all went on.
type trial struct {
	what     string
	from, to time.Time
}

const vigilVoices = 5

// vigilPace is the time between two pieces of each.
func vigilPace() time.Duration {
	return testenv.OfRun(60*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond)
}

// newVigil has connections from dial go on.
func newVigil(t *testing.T, dial func() conn) *vigil {
	t.Helper()
	conns := make([]conn, vigilVoices)
	for i := range conns {
		conns[i] = dial()
	}
	return &vigil{chorus: newChorusOf(t, vigilPace(), conns...)}
}

// survives does something, which all connections outlive.
func (v *vigil) survives(what string, do func()) {
	v.t.Helper()
	began := time.Now()
	do()
	v.goesOn()
	v.trials = append(v.trials, trial{what, began, time.Now()})
}

// end ends all connections in good order, and says for how long they stood still.
func (v *vigil) end() {
	v.t.Helper()
	v.ends()
	for _, k := range v.trials {
		var longest time.Duration
		for _, m := range v.voices {
			for _, s := range m.stood {
				if s.to.After(k.from) && s.to.Before(k.to) {
					longest = max(longest, s.to.Sub(s.from))
				}
			}
		}
		v.t.Logf("%s: stood still for %v", k.what, longest.Round(time.Millisecond))
	}
}

// surviving is a lane whose connections outlive their links, and some of those.
func surviving(t *testing.T, n *networks, flags ...string) (*vigil, *lane) {
	t.Helper()
	l := &lane{networks: n}
	l.begin(t, answeringSteady(t), plan{who: survivor(t), flags: flags})
	return newVigil(t, func() conn { return dialInside(t, n.near, l.address) }), l
}

func dialInside(t *testing.T, namespace, address string) (c conn) {
	t.Helper()
	inNamespace(t, namespace, func() { c = dial(t, address) })
	return c
}

// TestSurvivesRoaming gives an inlet another address, and then the outlet.
func TestSurvivesRoaming(t *testing.T) {
	t.Parallel()
	v, l := surviving(t, newNetworks(t))
	v.survivesRoaming(t, l.networks)
	v.end()
}

func (v *vigil) survivesRoaming(t *testing.T, n *networks) {
	t.Helper()
	v.survives("the inlet has another address", func() { roam(t, n.near, n.nearNet) })
	v.survives("the outlet has another address", func() { roam(t, n.far, n.farNet) })
}

// TestSurvivesUnnoticed opens connections when an address is another one already and nobody has
// noticed: they go on like those that were open before.
func TestSurvivesUnnoticed(t *testing.T) {
	t.Parallel()
	l := &lane{networks: newNetworks(t), ended: make(chan ending, mostServed)}
	l.begin(t, l.echo, plan{who: survivor(t)})
	open := []conn{l.dial()}
	if err := echoes(open[0], "hello"); err != nil {
		t.Fatal(err)
	}
	for _, side := range []struct{ space, network string }{
		{l.networks.near, l.networks.nearNet}, {l.networks.far, l.networks.farNet},
	} {
		roam(t, side.space, side.network)
		open = append(open, l.dial(), l.dial())
		for i := range open {
			c := open[len(open)-1-i] // the new ones first
			if err := echoes(c, "hello"); err != nil {
				t.Errorf("connection %d: %v", len(open)-1-i, err)
			}
		}
	}
}

// TestSSHSurvivesRoaming is TestSurvivesRoaming with an ssh on the connection, which forwards
// others in it.
func TestSSHSurvivesRoaming(t *testing.T) {
	t.Parallel()
	n := newNetworks(t)
	server := newSSHServerIn(t, n.far)
	l := &lane{networks: n}
	l.beginAt(t, plan{who: survivor(t), target: server.where})
	const forwarded = "127.0.0.1:2222"
	_, port, _ := net.SplitHostPort(l.address)
	login := server.login(l.person, "cat", "-o", "ExitOnForwardFailure=yes", "-p", port,
		"-L", forwarded+":"+serveInside(t, n.far, answeringSteady(t)))
	runIn(t, login, n.near)
	said, err := login.StdinPipe() // what outlives ssh ends when that does
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	ssh := start(t, login)
	eventually(t, "ssh listens", func() bool {
		listens := exec.Command("ss", "-Hltn", "src", forwarded)
		runIn(t, listens, n.near)
		return len(must(t, listens)) > 0
	})
	v := newVigil(t, func() conn { return dialInside(t, n.near, forwarded) })
	v.survivesRoaming(t, n)
	v.end()
	select {
	case <-ssh.done:
		t.Error("ssh has ended")
	default:
	}
}

// router is one that forgets who is behind it.
type router struct{ what, space, rules string }

// strict has a router make no mapping for who is in the middle of a connection, but do something
// else with that. What comes for a mapping that there is not is for the router itself: its kernel
// resets the connection, or is kept from that.
func strict(do, own string) string {
	return `table ip strict {
		chain through {
			type filter hook forward priority 0;
			tcp flags & (syn | ack) != syn ct state new ` + do + `
		}
		chain itself { type filter hook input priority 0; meta l4proto tcp ` + own + `; }
	}`
}

// TestSurvivesForgottenMapping has the routers of both forget who is behind them. They go on as
// Linux does that is told nothing else; or tell who sends by what they have forgotten; or are
// silent, so that pings must find out.
func TestSurvivesForgottenMapping(t *testing.T) {
	t.Parallel()
	nft, conntrack := testenv.NeedTool(t, "nft"), testenv.NeedTool(t, "conntrack")
	n := newNetworks(t)
	near, far := n.near, n.far
	n.near, n.far = n.behindNAT(t, nft, near, "10.77.3"), n.behindNAT(t, nft, far, "10.77.4")
	const usual = 5 * time.Second
	keepalive := testenv.OfFull(min(unhurried(time.Second), usual), usual)
	v, _ := surviving(t, n, "--keepalive", keepalive.String())
	tells, silent := strict("reject with tcp reset", "accept"), strict("drop", "drop")
	all := []router{
		{"the inlet's router", near, ""},
		{"the inlet's router, which tells", near, tells},
		{"the outlet's router, which is silent", far, silent},
	}
	if testenv.Full() {
		all = append(all, router{"the outlet's router", far, "delete table ip strict"},
			router{"the outlet's router, which tells", far, tells},
			router{"the inlet's router, which is silent", near, "delete table ip strict\n" + silent})
	}
	for _, r := range all {
		v.survives("keepalive "+keepalive.String()+", forgotten by "+r.what, func() {
			setRules(t, nft, r.space, r.rules)
			inside(t, r.space, conntrack+" -F 2>&1")
		})
	}
	v.end()
}

// behindNAT makes a router of an outer network, and returns the network behind it.
//
//	behind ── NETWORK.0/24 ── router ── middle
//	       .2              .1
func (n *networks) behindNAT(t *testing.T, nft, router, network string) (behind string) {
	t.Helper()
	behind = router + "-in"
	ip(t, "netns", "add", behind)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", behind).Run() })
	ip(t, "-n", behind, "link", "set", "lo", "up")
	ip(t, "-n", router, "link", "add", "in", "type", "veth", "peer", "name", "eth", "netns", behind)
	ip(t, "-n", router, "address", "add", network+".1/24", "dev", "in")
	ip(t, "-n", router, "link", "set", "in", "up")
	ip(t, "-n", behind, "address", "add", network+".2/24", "dev", "eth")
	ip(t, "-n", behind, "link", "set", "eth", "up")
	ip(t, "-n", behind, "route", "add", "default", "via", network+".1")
	inside(t, router, "echo 1 >/proc/sys/net/ipv4/ip_forward")
	setRules(t, nft, router, `table ip nat {
		chain out { type nat hook postrouting priority srcnat; oifname "eth" masquerade; }
	}`)
	return behind
}

// TestSurvivesOffline takes all networks away for a time.
func TestSurvivesOffline(t *testing.T) {
	t.Parallel()
	v, l := surviving(t, newNetworks(t))
	for _, without := range testenv.OfFull([]time.Duration{5 * time.Second},
		[]time.Duration{5 * time.Second, 30 * time.Second}) {
		v.survives("no network for "+without.String(), func() {
			l.online(false)
			time.Sleep(without)
			l.online(true)
		})
	}
	v.end()
}

// online takes the networks of both away, or brings them back.
func (l *lane) online(on bool) {
	l.t.Helper()
	state := map[bool]string{false: "down", true: "up"}[on]
	for _, outer := range []string{l.networks.near, l.networks.far} {
		ip(l.t, "-n", outer, "link", "set", "eth", state)
	}
}

// TestSurvivesStandstill stops everything for a time, and has it continue; then, in the long form,
// each part alone, and all while no network is there, for longer than connections wait for one.
func TestSurvivesStandstill(t *testing.T) {
	t.Parallel()
	v, l := surviving(t, newNetworks(t))
	stopped := testenv.OfFull(8*time.Second, 40*time.Second)
	all := []*process{l.inlet, l.relay, l.outlet}
	v.survives("everything stands still for "+stopped.String(), func() {
		l.standStill(stopped, all...)
	})
	if testenv.Full() {
		for i, part := range []string{"inlet", "relay", "outlet"} {
			v.survives("the "+part+" stands still for "+stopped.String(), func() {
				l.standStill(stopped, all[i])
			})
		}
		longer, err := time.ParseDuration(l.survive)
		if err != nil {
			t.Fatal(err)
		}
		longer += stopped
		v.survives("no network, and everything stands still for "+longer.String(), func() {
			const waits = "connections have lost their way"
			before := l.inlet.said(waits)
			l.online(false)
			l.inlet.saysAgain(waits, before)
			l.standStill(longer, all...)
			l.online(true)
		})
	}
	v.end()
}

// standStill stops processes for a time.
func (w *topology) standStill(d time.Duration, all ...*process) {
	w.t.Helper()
	for _, p := range all {
		p.signal(syscall.SIGSTOP)
	}
	time.Sleep(d)
	for _, p := range all {
		p.signal(syscall.SIGCONT)
	}
}

// TestSurvivesBox has a box on either side of the relay that cuts every connection some seconds
// after it has been made.
func TestSurvivesBox(t *testing.T) {
	t.Parallel()
	w := newTopology(t, plan{
		who: survivor(t), relay: true, faults: true, inlets: 1, target: steadyService(t),
	})
	v := newVigil(t, func() conn { return dial(t, w.address) })
	age := testenv.OfRun(2*time.Second, 5*time.Second, 5*time.Second)
	during, cuts := testenv.OfRun(3*age, 3*age, time.Hour), 0
	v.survives("every connection is cut after "+age.String(), func() {
		boxes := []*oldAge{{at: w.near}, {at: w.far}}
		pace := time.NewTicker(50 * time.Millisecond)
		defer pace.Stop()
		for until := time.Now().Add(during); time.Now().Before(until); <-pace.C {
			for _, b := range boxes {
				cuts += b.cut(age)
			}
		}
	})
	v.end()
	t.Logf("%d connections of sp's were cut in %v, under %d (%d MiB)", cuts, during,
		len(v.voices), v.carried.Load()>>20)
}

// oldAge is a box in the middle that lets no connection get old.
type oldAge struct {
	at    *faultnet.ProxyServer
	since map[*faultnet.Link]time.Time
}

// cut resets what is too old, and returns how many that were.
func (b *oldAge) cut(age time.Duration) (n int) {
	since := make(map[*faultnet.Link]time.Time)
	for _, k := range b.at.Conns() {
		began, ok := b.since[k]
		if !ok {
			began = time.Now()
		}
		if time.Since(began) >= age {
			k.Reset()
			n++
			continue
		}
		since[k] = began
	}
	b.since = since
	return n
}

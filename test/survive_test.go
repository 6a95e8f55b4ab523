//go:build unix

package test

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// steadyPace is the time between two pieces of each of so many connections: all together say two
// thousand a second, which leaves a machine with two cores time for other things.
func steadyPace(connections int) time.Duration {
	least := testenv.OfRun(100*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond)
	return max(least, time.Duration(connections)*time.Second/2000)
}

// newLasting starts a portal whose connections outlive the relay, which can be killed and revived.
func newLasting(t testing.TB, p plan) *topology {
	t.Helper()
	if p.who.t == nil {
		p.who = survivor(t)
	}
	relay, at := p.who.startRelay()
	p.relay, p.relayAt = true, at
	w := newTopology(t, p)
	w.relay = relay
	t.Cleanup(w.noComplaints)
	return w
}

// TestSurvivesRelayKilled kills the relay under many connections that say something all the time,
// and starts it again: with SP_FULL=1 50 times under 1,000 connections. None is dropped, no byte is
// wrong, and each ends as it should.
func TestSurvivesRelayKilled(t *testing.T) {
	alone(t)
	kills, connections := testenv.OfRun(2, 3, 50), testenv.OfRun(10, 60, 1000)
	w := newLasting(t, plan{program: "steady", inlets: 1})
	pace := steadyPace(connections)
	c := newChorus(t, connections, pace, w.address)
	var done []time.Time
	for range kills {
		done = append(done, time.Now())
		w.kill("relay")
		w.revive("relay")
		c.goesOn()
	}
	c.ends()
	t.Logf("relay killed %d times under %d connections (%d MiB, a piece every %v each): "+
		"stood still for %s", kills, connections, c.carried.Load()>>20, pace,
		percentiles(c.stoodStill(done)))
}

// TestSurvivesRelayKilledAgain kills the relay again while connections are still finding their new
// way: as soon as a share of them has, and that is at times none.
func TestSurvivesRelayKilledAgain(t *testing.T) {
	alone(t)
	kills, connections := testenv.OfRun(3, 5, 50), testenv.OfRun(8, 40, 400)
	w := newLasting(t, plan{program: "steady", inlets: 1})
	c := newChorus(t, connections, steadyPace(connections), w.address)
	for n := range kills {
		w.kill("relay")
		w.revive("relay")
		c.share(connections * n / kills)
	}
	c.goesOn()
	c.ends()
}

// TestSurvivesRolling restarts two relays in turn, to both of which the outlet is registered, and
// by both of which the inlet goes: with SP_FULL=1 50 times under 1,000 connections.
func TestSurvivesRolling(t *testing.T) {
	alone(t)
	restarts, connections := testenv.OfRun(2, 4, 50), testenv.OfRun(10, 60, 1000)
	me := survivor(t)
	second, secondAt := me.startRelay()
	w := newLasting(t, plan{
		who: me, program: "steady", outlet: []string{"--relay", secondAt},
	})
	w.connect("db@"+w.relayAt, "--to", "db@"+secondAt)
	pace := steadyPace(connections)
	c := newChorus(t, connections, pace, w.address)
	var done []time.Time
	for n := range restarts {
		relay := &w.relay
		if n%2 == 1 {
			relay = &second
		}
		registered := w.outlet.said(registeredLine)
		done = append(done, time.Now())
		(*relay).kill()
		*relay = (*relay).again()
		c.goesOn()
		// or the next one would leave no relay that leads to the outlet
		w.outlet.saysAgain(registeredLine, registered)
	}
	c.ends()
	t.Logf("two relays restarted in turn, %d times, under %d connections (%d MiB, a piece every %v "+
		"each): stood still for %s", restarts, connections, c.carried.Load()>>20, pace,
		percentiles(c.stoodStill(done)))
}

// registeredLine is what an outlet logs when it has a name on a relay.
const registeredLine = "msg=registered"

// TestSurvivesTopologies kills each relay and each bridge of each topology in turn, and starts it
// again, under connections that say something all the time. The short form has some of them.
func TestSurvivesTopologies(t *testing.T) {
	alone(t)
	some := []string{"relay mux", "bridge", "bridge, relay, bridge", "two private relays"}
	kills, connections := testenv.OfFull(1, 5), testenv.OfRun(5, 10, 100)
	for _, topology := range topologies {
		if topology.name == "direct" || !testenv.Full() && !slices.Contains(some, topology.name) {
			continue
		}
		t.Run(topology.name, func(t *testing.T) {
			alone(t)
			me := survivor(t)
			to := topology.build(me, steadyService(t))
			pace := steadyPace(connections)
			c := newChorus(t, connections, pace, me.inletTo(to))
			var done []time.Time
			for range kills {
				for i := range *me.middle {
					done = append(done, time.Now())
					me.restart(i)
					c.goesOn()
				}
			}
			c.ends()
			t.Logf("%s: %d restarts under %d connections: stood still for %s", topology.name,
				len(done), connections, percentiles(c.stoodStill(done)))
		})
	}
}

// TestSurvivesHandOver has each relay and each bridge of each topology stop in good order, while
// another one begins at the same address: its connections move to that one, and it is gone long
// before its --drain is over.
func TestSurvivesHandOver(t *testing.T) {
	alone(t)
	some := []string{"relay", "bridge, relay, bridge", overWebSocket.name}
	stops, connections := testenv.OfFull(1, 5), testenv.OfRun(5, 10, 100)
	for _, topology := range append(slices.Clone(topologies), overWebSocket) {
		if topology.name == "direct" || !isLonger() && !slices.Contains(some, topology.name) {
			continue
		}
		t.Run(topology.name, func(t *testing.T) {
			alone(t)
			me := survivor(t)
			to := topology.build(me, steadyService(t))
			c := newChorus(t, connections, steadyPace(connections), me.inletTo(to))
			var done []time.Time
			for range stops {
				for i, before := range *me.middle {
					done = append(done, time.Now())
					before.signal(syscall.SIGTERM)
					before.says("stopping")
					(*me.middle)[i] = before.again()
					before.ends(0)
					took := time.Since(done[len(done)-1])
					late := !inTime(done[len(done)-1], handOverMost)
					if late && (testenv.Full() || handsOver(topology.name)) {
						t.Errorf("%v is gone after %v", before.cmd.Args[1], took)
					} else if late {
						t.Logf("%v is gone after %v", before.cmd.Args[1], took)
					}
					c.goesOn()
				}
			}
			c.ends()
			t.Logf("%s: %d stopped under %d connections: stood still for %s", topology.name,
				len(done), connections, percentiles(c.stoodStill(done)))
		})
	}
}

// overWebSocket has all links to a relay on one connection each, which does not end with the
// listener that it has come to.
var overWebSocket = arrangement{"relay over a WebSocket", func(me person, target string) string {
	relay := me.start("relay", "--listen", "ws://"+testkit.Address(me.t)+"/sp")
	*me.middle = append(*me.middle, relay)
	me.startNamed(relay.ready(), "db", target)
	return "db@" + relay.ready()
}}

// handsOver tells whether the relays and bridges of a topology are known to be gone soon, however
// busy the machine is. Elsewhere, with channels in channels, one flow in some thousand that is
// being opened just then stays where it is: the relay waits for it for all of its --drain, and it
// goes on elsewhere then.
func handsOver(topology string) bool {
	switch topology {
	case "relay", "relay mux", "bridge", "two bridges", "bridge, relay, bridge", overWebSocket.name:
		return true
	}
	return false
}

// handOverMost is half of the default --drain.
const handOverMost = 15 * time.Second

// restart kills the relay or bridge of that number, and starts it again.
func (u person) restart(i int) {
	u.t.Helper()
	(*u.middle)[i].kill()
	(*u.middle)[i] = (*u.middle)[i].again()
}

// TestSurvivesResets resets all TCP connections between an inlet and an outlet, again and again.
func TestSurvivesResets(t *testing.T) {
	alone(t)
	resets, connections := testenv.OfRun(2, 5, 100), testenv.OfRun(5, 30, 500)
	me := survivor(t)
	_, outlet := me.startOutlet(steadyService(t))
	between := proxy(t, outlet, faultnet.ProxyConfig{})
	pace := steadyPace(connections)
	c := newChorus(t, connections, pace, me.inletTo(between.Addr()))
	var done []time.Time
	for n := range resets {
		done = append(done, time.Now())
		if n%2 == 0 {
			between.Reset()
		} else {
			between.Cut()
		}
		c.goesOn()
	}
	c.ends()
	t.Logf("all links reset or cut %d times under %d connections: stood still for %s", resets,
		connections, percentiles(c.stoodStill(done)))
}

//go:build unix

package test

import (
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// surviving has connections outlive their links for longer than any of these tests waits.
func surviving() []string {
	return []string{"--survive", unhurried(time.Minute).String()}
}

// steadyPace is the time between two pieces of each of so many connections: all together say two
// thousand a second, which leaves a machine with two cores time for other things.
func steadyPace(connections int) time.Duration {
	return max(50*time.Millisecond, time.Duration(connections)*time.Second/2000)
}

// lasting is a portal whose relay can be killed and revived without its address becoming another
// one. The target is steady, unless the plan says something else.
func newLasting(t testing.TB, p plan) *topology {
	t.Helper()
	if p.who.t == nil {
		p.who = newPerson(t)
	}
	if p.program == "" && p.target == "" {
		p.program = "steady"
	}
	at := lastingAddress(t)
	relay := p.who.start(p.who.relayAt(at)...)
	p.relay, p.relayAt = true, relay.ready()
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
	kills, connections := testenv.OfFull(3, 50), testenv.OfFull(60, 1000)
	w := newLasting(t, plan{inlets: 1, flags: surviving()})
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
	kills, connections := testenv.OfFull(5, 50), testenv.OfFull(40, 400)
	w := newLasting(t, plan{inlets: 1, flags: surviving()})
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
	restarts, connections := testenv.OfFull(4, 50), testenv.OfFull(60, 1000)
	me := newPerson(t)
	second, secondAt := me.startRelayAt(lastingAddress(t))
	w := newLasting(t, plan{
		who: me, flags: surviving(), outlet: []string{"--relay", secondAt},
	})
	w.connect("db@"+w.relayAt, append(surviving(), "--to", "db@"+secondAt)...)
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

// startRelayAt starts a relay at an address.
func (u person) startRelayAt(at string) (*process, string) {
	u.t.Helper()
	p := u.start(u.relayAt(at)...)
	return p, p.ready()
}

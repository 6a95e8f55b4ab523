package test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

// chaos is a set of relays in a yard, outlets of many names, inlets to them, and what goes on
// there.
type chaos struct {
	*unrest
	*relaySet
	me, rival person
	seed      uint64
	outlets   []*process
	trials    []trial
}

// size is how much there is of everything.
type size struct{ relays, outlets, names, inlets, connections, rounds int }

func newChaos(t *testing.T, s size, seed uint64) *chaos {
	t.Helper()
	c := &chaos{
		unrest: newUnrest(newYard(t, s.relays+1+s.outlets+s.inlets+1), seed),
		me:     newPerson(t), rival: newPerson(t), seed: seed,
	}
	var at []string
	for i := range s.relays + 1 {
		at = append(at, c.address(i)+":4000")
	}
	c.relaySet = newRelaySet(c.me, at, "--allow", c.me.identifier(), "--allow",
		c.rival.identifier())
	for i, r := range c.all {
		r.inside = c.places[i]
	}
	for _, r := range c.all[:s.relays] {
		r.begin(at[:s.relays]...)
	}
	c.meets()
	place := s.relays + 1
	for i := range s.outlets {
		m := many{Outlets: true, Relays: at[:s.relays], Survive: survivesUnrest}
		for j := range s.names {
			m.Names = append(m.Names, fmt.Sprintf("name-%d-%d", i, j))
		}
		c.names = append(c.names, m.Names...)
		c.outlets = append(c.outlets, c.me.in(c.places[place]).startMany(m))
		place++
	}
	for _, p := range c.outlets {
		p.ready()
	}
	var inlets []*process
	for i := range s.inlets {
		m := many{Relays: at[:s.relays], Dir: t.TempDir(), Survive: survivesUnrest}
		for j, name := range c.names {
			if j%s.inlets == i {
				m.Names = append(m.Names, name)
				c.inlets[name] = "unix:" + filepath.Join(m.Dir, name)
			}
		}
		inlets = append(inlets, c.me.in(c.places[place]).startMany(m))
		place++
	}
	for _, p := range inlets {
		p.ready()
	}
	// The rival wants some of the names all the time.
	c.rival.in(c.places[place]).startMany(many{
		Outlets: true, Relays: at[:s.relays], Names: c.names[:min(len(c.names), 8)],
		Survive: survivesUnrest,
	})
	c.begins(s.connections)
	return c
}

// does does something, waits until all connections go on, and notes from when until when that was.
func (c *chaos) does(what string, do func()) {
	c.t.Helper()
	began := time.Now()
	do()
	c.chorus.goesOn()
	c.trials = append(c.trials, trial{what, began, time.Now()})
}

// stoodStill says for how long each connection stood still at most, by what was done.
func (c *chaos) stoodStill() {
	all := make(map[string][]time.Duration)
	for _, k := range c.trials {
		for _, m := range c.chorus.voices {
			var longest time.Duration
			for _, s := range m.stood {
				if s.to.After(k.from) && s.from.Before(k.to) {
					longest = max(longest, s.to.Sub(s.from))
				}
			}
			all[k.what] = append(all[k.what], longest)
		}
	}
	for _, f := range chaosFaults {
		c.t.Logf("%s: connections stood still for %s", f.what, percentiles(all[f.what]))
	}
}

// aRelay returns one that runs, by chance.
func (c *chaos) aRelay() *setRelay {
	all := c.running()
	return all[c.random.IntN(len(all))]
}

func (c *chaos) seeds() []string { return c.addresses()[:len(c.all)-1] }

// again starts a relay that has ended, and waits until all know each other.
func (c *chaos) again(r *setRelay, seeds ...string) {
	c.t.Helper()
	r.begin(seeds...)
	c.meets()
}

// chaosFaults are what a round may do.
var chaosFaults = []fault[*chaos]{
	{"kill -9", func(c *chaos) { c.killsHome(c.relaySet, c.aName(), c.seeds()...) }},
	{"SIGSTOP", func(c *chaos) {
		r, most := c.aRelay(), testenv.OfFull(3*time.Second, 20*time.Second)
		r.signal(syscall.SIGSTOP)
		c.between(time.Second, most)
		r.signal(syscall.SIGCONT)
	}},
	{"one way", func(c *chaos) {
		a, b := c.two()
		c.cut(a, b)
		c.between(time.Second, testenv.OfFull(3*time.Second, 20*time.Second))
		c.heal()
	}},
	{"both ways", func(c *chaos) {
		a, b := c.two()
		c.cut(a, b)
		c.cut(b, a)
		c.between(time.Second, testenv.OfFull(3*time.Second, 20*time.Second))
		c.heal()
	}},
	{"SIGTERM", func(c *chaos) {
		r := c.aRelay()
		r.leaves()
		c.again(r, c.seeds()...)
	}},
	{"join and leave", func(c *chaos) {
		r := c.all[len(c.all)-1]
		c.again(r, c.all[0].at, r.at)
		c.between(time.Second, 3*time.Second)
		r.leaves()
	}},
	{"all in turn", func(c *chaos) {
		for _, r := range c.running() {
			r.leaves()
			c.again(r, c.seeds()...)
		}
	}},
	{"old list", func(c *chaos) {
		r := c.aRelay()
		r.killed()
		other := c.aRelay()
		c.again(r, c.all[len(c.all)-1].at, other.at, r.at)
	}},
}

// two returns two places by chance.
func (c *chaos) two() (a, b int) {
	all := c.random.Perm(len(c.places) - 1) // the rival may go where it wants
	return all[0], all[1]
}

// TestSetChaos has relays of a set be killed, stand still, be cut off, stop, join, leave, and
// restart, by chance, under connections that say something all the time: none is dropped, no byte
// is wrong, no connection leads to another target, and no name has two owners when all is well
// again. It wants a machine that does nothing else: what it waits for is how soon connections go
// on. TestSet is what runs every time. SP_FULL=1 is the long form, of 1,000 names, and SP_CHAOS=1 a
// short one.
func TestSetChaos(t *testing.T) {
	if !testenv.Full() && os.Getenv("SP_CHAOS") == "" {
		t.Skip("takes the machine for itself: SP_CHAOS=1, or SP_FULL=1 for hours")
	}
	s := testenv.OfFull(size{3, 4, 3, 2, 24, len(chaosFaults)}, size{5, 20, 50, 4, 500, 50})
	for seed := range faultnet.Seeds(t, 1) {
		newChaos(t, s, seed).lasts(s.rounds)
	}
}

// lasts has so many rounds go by.
func (c *chaos) lasts(rounds int) {
	t := c.t
	t.Helper()
	c.while(func() {
		byChance(c.random, rounds, chaosFaults, func(f fault[*chaos]) {
			c.does(f.what, func() { f.do(c) })
		})
	})
	c.chorus.ends()
	for _, name := range c.names {
		c.settles(name, c.me.identifier())
		tagged(t, c.inlets[name], name)
	}
	for _, p := range c.outlets {
		if text := p.linesWith(complaint); len(text) > 0 {
			t.Errorf("%d complaints, the first: %s", len(text), text[0])
		}
	}
	t.Logf("%s=%d replays it: %d relays, %d names, %d connections, %d MiB; %d new connections, %d "+
		"of which failed", faultnet.SeedVariable, c.seed, len(c.all)-1, len(c.names),
		len(c.chorus.voices), c.chorus.carried.Load()>>20, c.tried.Load(), c.failed.Load())
	t.Logf("kill -9: first good connection after %s", percentiles(c.killed))
	c.stoodStill()
}

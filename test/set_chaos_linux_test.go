package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
type size struct{ relays, outlets, names, inlets, connections int }

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
		c.rival.identifier(), "--max-names-per-identity", strconv.Itoa(s.outlets*s.names))
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
	c.t.Logf("%d: %s, and on after %v", len(c.trials), what, time.Since(began))
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
	{"one way", func(c *chaos) { c.partsFor(c.two(), false) }},
	{"both ways", func(c *chaos) { c.partsFor(c.two(), true) }},
	{"halves, one way", func(c *chaos) { c.partsFor(c.halves(), false) }},
	{"halves, both ways", func(c *chaos) { c.partsFor(c.halves(), true) }},
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

// healsIn is the time in which nobody has a name any more who had got it while something was wrong.
const healsIn = 10 * time.Second

// history makes sure of what has happened to each name since the beginning: if somebody else than
// its owner has got it, where nobody knew that he is, he has lost it when all was well again.
func (c *chaos) history() {
	c.t.Helper()
	claims, others := 0, 0
	var longest time.Duration
	for _, p := range c.relaySet.history() {
		claims++
		if p.who == c.me.identifier() {
			continue
		}
		others++
		longest = max(longest, p.to.Sub(p.from))
		healed := p.from
		for _, k := range c.trials {
			if !k.from.After(p.from) && k.to.After(healed) { // it was got while that was wrong
				healed = k.to
			}
		}
		if p.lasts || p.to.After(healed) && !inTimeAt(healed, p.to, healsIn) {
			c.t.Errorf("%s had %s on relay %d from %v to %v, and all was well at %v", p.who, p.name,
				p.relay, p.from, p.to, healed)
		}
	}
	c.t.Logf("%d claims were held, %d of them by somebody else, for %v at most", claims, others,
		longest)
}

// sides are places that are cut off from each other.
type sides [2][]int

// partsFor cuts one side off from the other for a while.
func (c *chaos) partsFor(s sides, bothWays bool) {
	c.part(s[0], s[1], bothWays)
	c.between(time.Second, testenv.OfFull(3*time.Second, 20*time.Second))
	c.heal()
}

// two returns a relay and another place, by chance, either of which may be first. The rival may go
// where it wants.
func (c *chaos) two() sides {
	a, b := c.random.IntN(len(c.all)-1), c.random.IntN(len(c.places)-2)
	if b >= a {
		b++
	}
	if c.random.IntN(2) == 0 {
		a, b = b, a
	}
	return sides{{a}, {b}}
}

// halves returns all places on two sides, by chance, with relays on each.
func (c *chaos) halves() (s sides) {
	relays := len(c.all) - 1
	first := c.random.IntN(relays)
	other := (first + 1 + c.random.IntN(relays-1)) % relays
	for i := range len(c.places) - 1 {
		at := c.random.IntN(2)
		switch i {
		case first:
			at = 0
		case other:
			at = 1
		}
		s[at] = append(s[at], i)
	}
	return s
}

// TestSetChaos has relays of a set be killed, stand still, be cut off, stop, join, leave, and
// restart, by chance, under connections that say something all the time: none is dropped, no byte
// is wrong, no connection leads to another target, and no name has two owners when all is well
// again. It wants a machine that does nothing else: what it waits for is how soon connections go
// on. TestSet is what runs every time. SP_FULL=1 is the long form, of 1,000 names and 50 times
// each, and SP_CHAOS=1 a short one, of one time each; with another number it is that many.
func TestSetChaos(t *testing.T) {
	if !testenv.Full() && os.Getenv(chaosVariable) == "" {
		t.Skip("takes the machine for itself: SP_CHAOS=1, or SP_FULL=1 for hours")
	}
	s := testenv.OfFull(size{3, 4, 3, 2, 24}, size{5, 20, 50, 4, 500})
	for seed := range faultnet.Seeds(t, 1) {
		newChaos(t, s, seed).lasts(roundsEach(t))
	}
}

// lasts has so many rounds go by.
func (c *chaos) lasts(each int) {
	t := c.t
	t.Helper()
	c.while(func() {
		byChance(c.random, each, chaosFaults, func(f fault[*chaos]) {
			c.does(f.what, func() { f.do(c) })
		})
	})
	c.chorus.ends()
	for _, name := range c.names {
		c.settles(name, c.me.identifier())
		tagged(t, c.inlets[name], name)
	}
	c.history()
	for _, p := range c.outlets {
		if text := p.linesWith(complaint); len(text) > 0 {
			t.Errorf("%d complaints, the first: %s", len(text), text[0])
		}
	}
	t.Logf("%s=%d replays it: %d relays, %d names, %d connections, %d MiB; %d new connections, %d "+
		"of which failed", faultnet.SeedVariable, c.seed, len(c.all)-1, len(c.names),
		len(c.chorus.voices), c.chorus.carried.Load()>>20, c.tried.Load(), c.failed.Load())
	c.killed.end(t)
	c.stoodStill()
}

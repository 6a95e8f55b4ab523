package set_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/route/relay/set"
)

// TestSchedules has names claimed and released while nodes are killed and come back without memory,
// the network is cut, one way and both, and heals, messages are late, come twice and overtake each
// other, and clocks are years apart. What must hold all the time is checked by the world. In the
// end, when all is whole, all agree, and when nobody claims anything any more, all is forgotten.
// That is so as well where messages have come later than nodes reckon with, by hours; only who has
// been first is not known then. There are 50
// seeds, 200 with SP_CI=1, and 5,000 with SP_FULL=1.
func TestSchedules(t *testing.T) {
	for seed := range testenv.OfRun[uint64](50, 200, 5_000) {
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runSchedule(t, seed) })
		})
		if !ok {
			return
		}
	}
}

func runSchedule(t *testing.T, seed uint64) {
	delays := []time.Duration{50 * time.Millisecond, time.Second, set.Slack / 6}
	w := newWorld(t, seed, 3+int(seed%3), delays[seed/3%3])
	if seed%4 == 3 {
		w.late = set.Lifetime / 4
	}
	names := []string{"db", "web", "mail"}
	for range 60 {
		w.step(names)
		w.pass(w.pause())
	}
	w.calm = true
	w.pass(w.late)
	w.heal()
	for i, n := range w.nodes {
		if !n.up {
			w.start(i)
		}
	}
	w.pass(2*set.Refresh + 4*set.Slack)
	owners := w.checkAgreed(names)
	w.pass(set.Refresh)
	if later := w.checkAgreed(names); !isPart(later, owners) {
		w.fail("after all have agreed, owners change from %v to %v", owners, later)
	}
	w.end(names)
}

// isPart tells whether all that is in part is in all. Of those who owned names some may be over.
func isPart[K, V comparable](part, all map[K]V) bool {
	for k, v := range part {
		if all[k] != v {
			return false
		}
	}
	return true
}

// pause is how long nothing happens: mostly as long as a message takes, or as it takes to see that
// a claim was earlier, and sometimes hours.
func (w *world) pause() time.Duration {
	longest := []time.Duration{
		time.Nanosecond, w.delay / 4, w.delay, w.delay, 30 * time.Second, 4 * set.Slack,
		4 * set.Slack, set.Lifetime / 2,
	}
	return w.upTo(longest[w.rng.IntN(len(longest))])
}

// step has one thing happen.
func (w *world) step(names []string) {
	name := names[w.rng.IntN(len(names))]
	who := person(byte(1 + w.rng.IntN(3)))
	i := w.rng.IntN(len(w.nodes))
	switch w.rng.IntN(12) {
	case 0, 1, 2, 3: // an outlet claims at two homes, as it sees them
		for k, home := range w.nodes[i].view.Claims(name, 2) {
			at := w.indexOf(home.ID)
			w.after(time.Duration(k)*w.upTo(w.delay), nil, func() { w.claim(at, name, who) })
		}
	case 4, 5: // or anywhere
		w.claim(i, name, who)
	case 6, 7:
		for i := range w.nodes {
			w.release(i, name)
		}
	case 8:
		w.stop(i)
		w.after(w.upTo(time.Hour), nil, func() {
			if !w.nodes[i].up {
				w.start(i)
			}
		})
	case 9: // a short restart
		w.stop(i)
		w.start(i)
	case 10:
		all := w.rng.Perm(len(w.nodes))
		at := 1 + w.rng.IntN(len(all)-1)
		w.part(all[:at], all[at:], w.rng.IntN(3) > 0)
	case 11:
		w.heal()
	}
}

// end has nobody hold anything any more.
func (w *world) end(names []string) {
	for i := range w.nodes {
		for _, name := range names {
			w.release(i, name)
		}
	}
	w.pass(set.Lifetime + set.Refresh + 2*set.Slack)
	for _, n := range w.nodes {
		if n.Expire(w.clock(n)); n.Len() > 0 {
			w.fail("node %d does not forget: %+v", n.index, n.Records(w.clock(n), nil))
		}
	}
}

// inWorld runs a story in a world of three nodes, and then has all agree and forget.
func inWorld(t *testing.T, story func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, time.Second)
		w.pass(time.Minute)
		story(w)
		w.end([]string{"db"})
	})
}

// agreed waits until all nodes know the name's owner.
func (w *world) agreed(who byte) {
	w.Helper()
	w.pass(time.Minute)
	for _, n := range w.nodes {
		if got, _ := n.Owner(w.clock(n), "db"); got != person(who) {
			w.fail("on node %d db is %v's, want %v", n.index, got, person(who))
		}
	}
}

// TestPartition has a node lose its memory while it is cut off. Somebody else claims the name there
// and loses it when the network is whole.
func TestPartition(t *testing.T) {
	for cutOff := range 3 {
		inWorld(t, func(w *world) {
			w.claim(0, "db", person(9))
			w.agreed(9)
			w.pass(set.Settled)
			rest := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == cutOff })
			w.part([]int{cutOff}, rest, true)
			w.pass(time.Minute)
			w.stop(cutOff)
			w.start(cutOff)
			if !w.claim(cutOff, "db", person(1)) {
				w.fail("nobody knows of the claim, and another one is refused")
			}
			w.pass(10 * time.Hour)
			w.heal()
			w.agreed(9)
		})
	}
}

// TestTwins has two identities claim a name at the same time, on different nodes, where each sees
// its own claim as the older one: one of them gets it, everywhere.
func TestTwins(t *testing.T) {
	for first := range 3 {
		inWorld(t, func(w *world) {
			w.claim(first, "db", person(1))
			w.claim((first+1)%3, "db", person(2))
			w.pass(time.Minute)
			owner, _ := w.nodes[0].Owner(w.clock(w.nodes[0]), "db")
			w.agreed(owner[0])
		})
	}
}

// TestMoves has an identity claim its name on one node after the other.
func TestMoves(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 30 {
			if !w.claim(i%3, "db", person(1)) {
				w.fail("not on node %d", i%3)
			}
			w.release(i%3, "db")
			w.pass(20 * time.Hour)
			if i%5 == 0 {
				w.stop(i % 3)
				w.start(i % 3)
			}
		}
		w.agreed(1)
		for _, n := range w.nodes {
			if r, ok := n.Record(w.clock(n), "db"); !ok || r.First < 29*20*time.Hour {
				w.fail("node %d tells %+v", n.index, r)
			}
		}
	})
}

// TestGone has the whole set lose its memory: who comes first owns.
func TestGone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.claim(0, "db", person(1))
		w.agreed(1)
		for i := range w.nodes {
			w.stop(i)
		}
		for i := range w.nodes {
			w.start(i)
		}
		w.claim(2, "db", person(2))
		w.agreed(2)
	})
}

// TestOwnersAreMany has one judge after the other decide, as nodes come and go, between as many
// claims at once as there are nodes.
func TestOwnersAreMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 5, time.Second)
		w.pass(time.Minute)
		names := []string{"db"}
		for i := range w.nodes {
			w.part([]int{i}, slices.DeleteFunc([]int{0, 1, 2, 3, 4}, func(j int) bool {
				return j == i
			}), true)
		}
		w.pass(time.Minute)
		for i := range w.nodes {
			if !w.claim(i, "db", person(byte(5-i))) {
				w.fail("node %d is alone, and refuses", i)
			}
			w.pass(time.Millisecond)
		}
		w.heal()
		w.pass(2 * set.Refresh)
		owners := w.checkAgreed(names)
		for i := range w.nodes {
			w.stop(i)
			w.pass(time.Hour)
			if later := w.checkAgreed(names); !maps.Equal(owners, later) {
				w.fail("%v have become %v", owners, later)
			}
			w.start(i)
			w.pass(time.Hour)
		}
		w.end(names)
	})
}

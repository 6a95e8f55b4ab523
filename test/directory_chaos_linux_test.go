package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testenv"
)

// wideChaos is two sets of relays that know each other by three servers of NATS, all in a yard; an
// outlet of many names in each, and an inlet to the other one's in each:
//
//	places 0 to 2: NATS; 3 and 4: set west; 5 and 6: set east; 7 and 8: outlets; 9 and 10: inlets;
//	11: a rival, who wants names of his own in one set that somebody else wants in the other one
type wideChaos struct {
	*unrest
	me, rival person
	servers   []*natsInYard
	sets      [2]*relaySet
	contested []string
	done      []time.Time
}

// natsInYard is a server of NATS in a place.
type natsInYard struct {
	t       *testing.T
	place   string
	file    string
	running *exec.Cmd
}

func (n *natsInYard) start() {
	n.t.Helper()
	n.running = exec.Command("ip", "netns", "exec", n.place, "nats-server", "-c", n.file)
	if err := n.running.Start(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *natsInYard) kill() {
	if n.running != nil {
		_ = n.running.Process.Kill() // ip has become the server
		_ = n.running.Wait()
		n.running = nil
	}
}

const firstRelay, firstOutlet, firstInlet, rivalPlace, widePlaces = 3, 7, 9, 11, 12

func newWideChaos(t *testing.T, names, connections int, seed uint64) *wideChaos {
	t.Helper()
	testenv.NeedTool(t, "nats-server")
	c := &wideChaos{
		unrest: newUnrest(newYard(t, widePlaces), seed), me: newPerson(t), rival: newPerson(t),
	}
	c.startServers()
	flags := []string{"--allow", c.me.identifier(), "--allow", c.rival.identifier()}
	for i := range c.servers {
		flags = append(flags, "--directory", "nats://"+c.address(i))
	}
	for i := range c.sets {
		at := []string{c.address(firstRelay+2*i) + ":4000", c.address(firstRelay+2*i+1) + ":4000"}
		c.sets[i] = newRelaySet(c.me.another(), at, flags...)
		for j, r := range c.sets[i].all {
			r.inside = c.places[firstRelay+2*i+j]
			r.begin(at...)
		}
		c.sets[i].meets()
		for _, r := range c.sets[i].all {
			r.says("connected with the directory")
		}
	}
	c.startPortals(names)
	c.begins(connections)
	return c
}

func (c *wideChaos) startServers() {
	var routes []string
	for i := range 3 {
		routes = append(routes, "nats://"+c.address(i)+":6222")
	}
	for i := range 3 {
		file := filepath.Join(c.t.TempDir(), "nats.conf")
		text := fmt.Sprintf("listen: \"%s:4222\"\nserver_name: s%d\n"+
			"cluster { name: c, listen: \"%s:6222\", routes: [%s] }\n",
			c.address(i), i, c.address(i), strings.Join(routes, ", "))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			c.t.Fatal(err)
		}
		n := &natsInYard{t: c.t, place: c.places[i], file: file}
		n.start()
		c.t.Cleanup(n.kill)
		c.servers = append(c.servers, n)
	}
}

// startPortals starts an outlet of many names in each set, and an inlet to them in the other one.
func (c *wideChaos) startPortals(names int) {
	for i, set := range c.sets {
		m := many{Outlets: true, Relays: set.addresses(), Survive: survivesUnrest}
		for j := range names {
			m.Names = append(m.Names, fmt.Sprintf("name-%d-%d", i, j))
		}
		c.me.in(c.places[firstOutlet+i]).startMany(m).ready()
		c.names = append(c.names, m.Names...)
		other := many{
			Relays: c.sets[1-i].addresses(), Dir: c.t.TempDir(), Survive: survivesUnrest, Names: m.Names,
		}
		c.me.in(c.places[firstInlet+i]).startMany(other).ready()
		for _, name := range m.Names {
			c.inlets[name] = "unix:" + filepath.Join(other.Dir, name)
		}
	}
}

func (c *wideChaos) pause() {
	c.between(time.Second, testenv.OfFull(3*time.Second, 20*time.Second))
}

// wideFaults are what a round may do.
var wideFaults = []fault[*wideChaos]{
	{"a server is killed", func(c *wideChaos) {
		n := c.servers[c.random.IntN(3)]
		n.kill()
		c.pause()
		n.start()
	}},
	{"a server stands still", func(c *wideChaos) {
		n := c.servers[c.random.IntN(3)]
		_ = n.running.Process.Signal(syscall.SIGSTOP)
		c.pause()
		_ = n.running.Process.Signal(syscall.SIGCONT)
	}},
	{"servers do not reach each other", func(c *wideChaos) {
		i := c.random.IntN(3)
		for j := range 3 {
			if i != j {
				c.cut(i, j)
				c.cut(j, i)
			}
		}
		c.contest()
		c.pause()
		c.heal()
	}},
	{"a set is cut off from all servers", func(c *wideChaos) {
		set := c.random.IntN(2)
		for i := range 3 {
			for j := range 2 {
				c.cut(i, firstRelay+2*set+j)
				c.cut(firstRelay+2*set+j, i)
			}
		}
		c.contest()
		c.pause()
		c.heal()
	}},
	{"kill -9 of a home", func(c *wideChaos) {
		name, set := c.aName(), c.sets[0]
		if strings.HasPrefix(name, "name-1") {
			set = c.sets[1]
		}
		c.killsHome(set, name, set.addresses()...)
	}},
	{"all servers are started anew", func(c *wideChaos) {
		for _, n := range c.servers {
			n.kill()
		}
		c.contest()
		c.pause()
		for _, n := range c.servers {
			n.start()
		}
	}},
}

// contest has two identities claim a new name, each in a set of its own.
func (c *wideChaos) contest() {
	name := fmt.Sprintf("contested-%d", len(c.contested))
	c.contested = append(c.contested, name)
	for i, who := range []person{c.me, c.rival} {
		who.in(c.places[rivalPlace]).start("outlet", "--relay", c.sets[i].all[0].at, "--name", name,
			"--target", "127.0.0.1:9")
	}
}

// owners are who holds a name in each set, once for each.
func (c *wideChaos) owners(name string) (all []string) {
	seen := make(map[string]bool)
	for _, set := range c.sets {
		for _, r := range set.running() {
			if who := r.holder(name); who != "" && !seen[who] {
				seen[who] = true
				all = append(all, who)
			}
		}
	}
	return all
}

// TestDirectoryChaos has servers of NATS that join two sets be killed, stand still, be cut off from
// each other and from relays, and relays be killed, by chance, under connections that say something
// all the time: none is dropped, no byte is wrong, no connection leads to another target, and no
// name has two owners when all is well again. SP_FULL=1 is the long form, of 50 times each, and
// SP_CHAOS=1 a short one, of one time each; with another number it is that many.
func TestDirectoryChaos(t *testing.T) {
	if !testenv.Full() && os.Getenv(chaosVariable) == "" {
		t.Skip("takes the machine for itself: SP_CHAOS=1, or SP_FULL=1 for longer")
	}
	for seed := range faultnet.Seeds(t, 1) {
		c := newWideChaos(t, testenv.OfFull(3, 50), testenv.OfFull(12, 200), seed)
		c.lasts(roundsEach(t))
		t.Logf("%s=%d replays it", faultnet.SeedVariable, seed)
	}
}

func (c *wideChaos) lasts(each int) {
	c.t.Helper()
	c.while(func() {
		byChance(c.random, each, wideFaults, func(f fault[*wideChaos]) {
			began := time.Now()
			c.done = append(c.done, began)
			f.do(c)
			c.chorus.goesOn()
			c.t.Logf("%s: %v", f.what, time.Since(began).Round(time.Millisecond))
		})
	})
	for _, name := range c.contested {
		eventually(c.t, name+" has one owner", func() bool { return len(c.owners(name)) == 1 })
	}
	for _, name := range c.names {
		eventually(c.t, name+" can be reached", func() bool {
			return tryTagged(c.t.Context(), c.dialer(name), name) == nil
		})
	}
	c.chorus.ends()
	c.t.Logf("%d connections, %d MiB; %d new connections, %d of which failed; stood still for %s",
		len(c.chorus.voices), c.chorus.carried.Load()>>20, c.tried.Load(), c.failed.Load(),
		percentiles(c.chorus.stoodStill(c.done)))
	c.killed.end(c.t)
}

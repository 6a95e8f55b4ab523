//go:build unix

package test

import (
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// directoryStory is two sets of two relays each, which know nothing of each other but three servers
// of NATS. An outlet of each set, and an inlet in each set to the other one's name:
//
//	client ─▶ inlet ─▶ set east ─▶ set west ◀─ outlet ─▶ target
//	                      └─── NATS ───┘
type directoryStory struct {
	person
	servers []*brokertest.Process
	rival   person
	sets    map[string]*relaySet
	inlets  map[string]string // where the inlet of a name listens
	chorus  *chorus
}

// elsewhere are the names of the outlets, and in which set each is claimed; its inlet is in the
// other one.
var elsewhere = []struct{ name, claimed, asked string }{
	{"one", "west", "east"}, {"two", "east", "west"},
}

func newDirectoryStory(t *testing.T) *directoryStory {
	t.Helper()
	testenv.NeedTool(t, "nats-server")
	me := survivor(t)
	s := &directoryStory{
		person: me, rival: me.another(), servers: brokertest.NATSCluster(t, 3, ""),
		sets: make(map[string]*relaySet), inlets: make(map[string]string),
	}
	flags := []string{"--allow", me.identifier(), "--allow", s.rival.identifier()}
	for _, server := range s.servers {
		flags = append(flags, "--directory", "nats://"+server.Address)
	}
	for _, set := range []string{"west", "east"} {
		at := []string{testkit.Address(t), testkit.Address(t)}
		s.sets[set] = newRelaySet(me.another(), at, flags...)
		for _, r := range s.sets[set].all {
			r.begin(at...)
		}
		s.sets[set].meets()
		for _, r := range s.sets[set].all {
			r.says("connected with the directory")
		}
	}
	var conns []conn
	for _, e := range elsewhere {
		me.startNamed(s.at(e.claimed), e.name, taggedService(t, e.name))
		s.sets[e.claimed].settles(e.name, me.identifier())
		s.inlets[e.name] = me.inletTo(e.name + "@" + s.at(e.asked))
		for range testenv.OfRun(3, 5, 100) {
			conns = append(conns, tagged(t, s.inlets[e.name], e.name))
		}
	}
	s.chorus = newChorusOf(t, steadyPace(len(conns)), conns...)
	return s
}

func (s *directoryStory) at(set string) string { return s.sets[set].all[0].at }

// goesOn waits until all connections do, and new ones can be made.
func (s *directoryStory) goesOn() {
	s.t.Helper()
	s.chorus.goesOn()
	for name, at := range s.inlets {
		tagged(s.t, at, name)
	}
}

// found waits until a name can be reached that nobody has looked up yet in a set.
func (s *directoryStory) found(name, claimed, asked string) {
	s.t.Helper()
	s.startNamed(s.at(claimed), name, taggedService(s.t, name))
	s.inlets[name] = s.inletTo(name + "@" + s.at(asked))
	tagged(s.t, s.inlets[name], name)
}

// TestDirectory has two sets find each other's names by NATS, while one of its servers is killed,
// and all of them are gone for a while, under connections that say something all the time: those
// are not touched, and nobody gets a name that somebody else has in the other set.
func TestDirectory(t *testing.T) {
	alone(t)
	s := newDirectoryStory(t)
	s.unknownFailsAtOnce()
	s.isTaken("two", "west")
	s.servers[0].Kill()
	s.goesOn()
	s.found("three", "west", "east")
	s.servers[1].Kill()
	s.servers[2].Kill()
	s.goesOn()
	status := s.sets["west"].owner.must("status", "--all")
	if !strings.Contains(status, "TROUBLE: the directory") || !strings.Contains(status, "DOWN") {
		t.Errorf("sp status does not say that the directory is down:\n%s", status)
	}
	for _, server := range s.servers {
		server.Start()
	}
	for _, set := range s.sets {
		for _, r := range set.all {
			r.saysTimes("connected with the directory", 2)
		}
	}
	s.found("four", "east", "west")
	s.goesOn()
	s.killHome()
	s.chorus.ends()
}

// unknownFailsAtOnce asks for a name that nobody has.
func (s *directoryStory) unknownFailsAtOnce() {
	s.t.Helper()
	began := time.Now()
	r := s.run("inlet", "--no-wait", "--listen", anywhere, "--to", "nobody@"+s.at("east"))
	if r.code == done || !strings.Contains(r.stderr, "no outlet named nobody") {
		s.t.Errorf("exit code %d\n%s", r.code, r.stderr)
	}
	if !inTime(began, 5*time.Second) {
		s.t.Errorf("a name that nobody has was refused after %v", time.Since(began))
	}
}

// killHome kills the relay by which an inlet in the other set is led to a name.
func (s *directoryStory) killHome() {
	s.t.Helper()
	e := elsewhere[0]
	home := s.sets[e.claimed].homes(e.name)[0]
	home.killed()
	dial := func() (conn, error) { return dialWhere(s.inlets[e.name]) }
	took, bad := firstGood(s.t, dial, e.name)
	s.t.Logf("a relay of the other set killed: first good connection after %v, %d failed", took, bad)
	s.chorus.goesOn()
}

// isTaken has somebody else claim a name in another set than the one that has it, in vain.
func (s *directoryStory) isTaken(name, set string) {
	s.t.Helper()
	r := s.rival.run("outlet", "--relay", s.at(set), "--name", name, "--target", "127.0.0.1:9",
		"--no-wait")
	if r.code == done || !strings.Contains(r.stderr, "belongs to another identity") {
		s.t.Errorf("exit code %d\n%s", r.code, r.stderr)
	}
}

//go:build unix

package test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// shareStory is outlets that share a name, each with a target that says who it is, and an inlet:
//
//	         ┌─▶ relays ◀─── outlet ─▶ a
//	inlet ───┤           ◀─── outlet ─▶ b
//	         └─▶         ◀─── outlet ─▶ c
type shareStory struct {
	person
	targets map[string]*fleeting
	outlets map[string]*process
	inlet   *process
	at      string // where it listens
}

// fleeting is a target that goes away and comes back. It says its name first.
type fleeting struct {
	t    testing.TB
	name string
	at   string
	l    net.Listener
}

func (f *fleeting) comes() {
	f.t.Helper()
	l, err := net.Listen("tcp", f.at)
	if err != nil {
		f.t.Fatal(err)
	}
	f.l = l
	serve(f.t, l, func(c conn) {
		if _, err := io.WriteString(c, f.name); err == nil {
			echo(c)
		}
	})
}

// goes has nobody listen there any more: until then, one who connects may be accepted, and reset.
func (f *fleeting) goes() {
	f.t.Helper()
	_ = f.l.Close()
	eventually(f.t, "nobody listens at the target", func() bool {
		c, err := dialWhere(f.at)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

var sharers = []string{"a", "b", "c"}

// newShareStory starts one outlet after the other by one relay after the other, and an inlet by the
// last.
func newShareStory(me person, relays ...string) *shareStory {
	me.t.Helper()
	s := &shareStory{
		person: me, targets: make(map[string]*fleeting), outlets: make(map[string]*process),
	}
	for i, name := range sharers {
		f := &fleeting{t: me.t, name: name, at: testkit.Address(me.t)}
		f.comes()
		s.targets[name] = f
		s.outlets[name] = me.startNamed(relays[i%len(relays)], "db", f.at, "--share",
			"--check", "tcp", "--check-interval", "100ms")
	}
	s.inlet = me.start("inlet", "--listen", anywhere, "--to", "db@"+relays[len(relays)-1])
	s.at = s.inlet.ready()
	return s
}

// open opens so many connections, and returns those with each target.
func (s *shareStory) open(n int) map[string][]conn {
	s.t.Helper()
	all := make(map[string][]conn)
	for range n {
		c, name := reached(s.t, s.at, 1)
		all[name] = append(all[name], c)
	}
	return all
}

// spreads waits until connections are spread over some targets evenly, and over no other.
func (s *shareStory) spreads(over ...string) map[string][]conn {
	s.t.Helper()
	var all map[string][]conn
	eventually(s.t, fmt.Sprint("connections are spread over ", over), func() bool {
		all = s.open(3 * len(over))
		good := len(all) == len(over)
		for _, name := range over {
			good = good && len(all[name]) == 3
		}
		if !good {
			closeAll(all)
		}
		return good
	})
	return all
}

func closeAll(all map[string][]conn) {
	for _, conns := range all {
		for _, c := range conns {
			_ = c.Close()
		}
	}
}

// go on says something on some connections, and expects it back.
func (s *shareStory) goOn(conns []conn) {
	s.t.Helper()
	for _, c := range conns {
		if err := echoes(c, "still here"); err != nil {
			s.t.Error(err)
		}
	}
}

// only expects that new connections lead to these targets, every one of them.
func (s *shareStory) only(names ...string) {
	s.t.Helper()
	all := s.open(2 * len(names))
	defer closeAll(all)
	n := 0
	for _, name := range names {
		n += len(all[name])
	}
	if n != 2*len(names) {
		s.t.Errorf("connections lead to more than %v", names)
	}
}

// losesOutlet kills one: new connections lead to the others at once, and what was open there ends.
func (s *shareStory) losesOutlet() {
	s.t.Helper()
	open := s.spreads("a", "b", "c")
	defer closeAll(open)
	s.outlets["b"].kill()
	killed := time.Now()
	s.only("a", "c")
	s.goOn(append(open["a"], open["c"]...))
	for _, c := range open["b"] {
		endOf(c)
	}
	if !inTime(killed, 30*time.Second) {
		s.t.Errorf("what was open there has ended after %v", time.Since(killed))
	}
}

// losesTarget has a target go away and come back: it is left out meanwhile. What is open goes on.
func (s *shareStory) losesTarget() {
	s.t.Helper()
	open := s.spreads("a", "c")
	defer closeAll(open)
	s.targets["c"].goes()
	s.only("a")
	s.outlets["c"].says("the target is not well")
	s.only("a")
	s.goOn(append(open["a"], open["c"]...))
	s.targets["c"].comes()
	closeAll(open)
	closeAll(s.spreads("a", "c"))
}

// losesAll has all targets go away: who connects is refused, and the reason is known.
func (s *shareStory) losesAll() {
	s.t.Helper()
	s.targets["a"].goes()
	s.targets["c"].goes()
	s.outlets["a"].says("the target is not well")
	s.outlets["c"].saysTimes("the target is not well", 2)
	eventually(s.t, "the inlet says why nobody is reached", func() bool {
		if s.answers() {
			s.t.Error("somebody is reached")
		}
		return s.inlet.said("the target is not well") > 0
	})
	s.targets["a"].comes()
	eventually(s.t, "it is back", s.answers)
}

// answers tells whether a new connection reaches a target.
func (s *shareStory) answers() bool {
	c, err := dialWhere(s.at)
	if err != nil { // it is reset before one knows that it is there
		return false
	}
	defer c.Close()
	_, err = io.ReadFull(c, make([]byte, 1))
	return err == nil
}

// TestShare has three outlets share a name on one relay.
func TestShare(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	_, relay := me.startRelay()
	s := newShareStory(me, relay)
	s.losesOutlet()
	s.losesTarget()
	s.losesAll()
}

// TestShareInSet has three outlets share a name in a set of relays, by connections that outlive
// their links: none is lost with a relay, none goes on in another process, and those whose process
// is gone are not kept waiting.
func TestShareInSet(t *testing.T) {
	t.Parallel()
	me := survivor(t)
	set := newTrio(me)
	at := set.addresses()
	s := newShareStory(me, at...)
	set.settles("db", me.identifier())
	open := s.spreads("a", "b", "c")
	for _, home := range set.homes("db")[:homesEach] {
		home.killed()
		s.only("a", "b", "c")
		for _, name := range sharers {
			s.goOn(open[name])
		}
		home.begin(at...)
		set.meets()
		set.settles("db", me.identifier())
	}
	closeAll(open)
	s.losesOutlet()
	s.losesTarget()
}

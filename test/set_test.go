//go:build unix

package test

import (
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

// setStory is three relays of a set and one that is to join, outlets of two names and an inlet to
// each, each of which knows one of the relays:
//
//	client ─▶ inlet ─▶ three relays ◀─ outlet ─▶ target
type setStory struct {
	person
	*relaySet
	names  []string
	inlets map[string]string // where the inlet of a name listens
	chorus *chorus           // through both inlets
	done   []time.Time       // when something was done that connections are to survive
}

func newSetStory(t *testing.T) *setStory {
	t.Helper()
	me := survivor(t)
	var at []string
	for range 4 {
		at = append(at, testkit.Address(t))
	}
	s := &setStory{
		person: me, names: []string{"one", "two"}, inlets: make(map[string]string),
		relaySet: newRelaySet(me, at, "--allow", me.identifier()),
	}
	for _, r := range s.all[:3] {
		r.begin(at[:3]...)
	}
	s.meets()
	for i, name := range s.names {
		me.startNamed(at[i], name, taggedService(t, name))
		s.inlets[name] = me.inletTo(name + "@" + at[2])
	}
	s.settle()
	var conns []conn
	for i := range testenv.OfRun(4, 20, 200) {
		name := s.names[i%len(s.names)]
		conns = append(conns, tagged(t, s.inlets[name], name))
	}
	s.chorus = newChorusOf(t, steadyPace(len(conns)), conns...)
	return s
}

// settle waits until each name is claimed where it is at home.
func (s *setStory) settle() {
	s.t.Helper()
	s.meets()
	for _, name := range s.names {
		s.settles(name, s.identifier())
	}
}

// disturbed notes that something is done now.
func (s *setStory) disturbed() { s.done = append(s.done, time.Now()) }

// goesOn waits until all connections do, and new ones can be made.
func (s *setStory) goesOn() {
	s.t.Helper()
	s.chorus.goesOn()
	for _, name := range s.names {
		tagged(s.t, s.inlets[name], name)
	}
}

// dialer returns what connects to a name.
func (s *setStory) dialer(name string) func() (conn, error) {
	return func() (conn, error) { return dialWhere(s.inlets[name]) }
}

// TestSet has relays of a set be killed, stop, join, and restart in turn, under connections that
// say something all the time: none is dropped, and new ones are made at once.
func TestSet(t *testing.T) {
	alone(t)
	s := newSetStory(t)
	s.killFirstHome()
	s.stopEach()
	s.join()
	s.restartInTurn()
	s.restartWithOldList()
	s.chorus.ends()
	t.Logf("%d times something was done under %d connections: stood still for %s", len(s.done),
		len(s.chorus.voices), percentiles(s.chorus.stoodStill(s.done)))
}

// killFirstHome kills the first home of a name, whose inlet goes by that one.
func (s *setStory) killFirstHome() {
	s.t.Helper()
	var all returns
	failed := 0
	for n := range testenv.OfRun(1, 2, 50) {
		name := s.names[n%len(s.names)]
		home := s.homes(name)[0]
		s.disturbed()
		home.killed()
		took, bad := firstGood(s.t, s.dialer(name), name)
		all.add(took)
		failed += bad
		if took > returnsIn {
			s.t.Logf("%s: first good connection after %v, %d failed", name, took, bad)
		}
		s.goesOn()
		home.begin(s.addresses()[:3]...)
		s.settle()
	}
	all.end(s.t)
	s.t.Logf("%d failed before", failed)
}

// stopEach stops each relay in good order, which waits for nobody, and starts it again.
func (s *setStory) stopEach() {
	s.t.Helper()
	for range testenv.OfFull(1, 10) {
		for _, r := range s.running() {
			s.restart(r, s.addresses()[:3])
		}
	}
}

// restart stops a relay in good order, and starts it again once it has ended.
func (s *setStory) restart(r *setRelay, seeds []string) {
	s.t.Helper()
	s.disturbed()
	began := time.Now()
	r.leaves()
	took := time.Since(began)
	if !inTime(began, handOverMost) {
		s.t.Errorf("relay %d is gone after %v: it has waited for connections", r.number, took)
	}
	s.goesOn()
	r.begin(seeds...)
	s.settle()
	s.t.Logf("relay %d was gone after %v", r.number, took.Round(time.Millisecond))
}

// join has another relay join: names move to it that are at home there.
func (s *setStory) join() {
	s.t.Helper()
	s.disturbed()
	s.all[3].begin(s.all[1].at, s.all[3].at)
	s.settle()
	s.goesOn()
	s.disturbed()
	s.all[3].leaves()
	s.settle()
	s.goesOn()
}

// restartInTurn kills one relay after the other, and starts it again.
func (s *setStory) restartInTurn() {
	s.t.Helper()
	for range testenv.OfFull(1, 10) {
		for _, r := range s.running() {
			s.disturbed()
			r.killed()
			s.goesOn()
			r.begin(s.addresses()[:3]...)
			s.settle()
		}
	}
}

// restartWithOldList restarts a relay that knows one where there is none any more, and another one.
func (s *setStory) restartWithOldList() {
	s.t.Helper()
	s.restart(s.all[0], []string{s.all[3].at, s.all[1].at, s.all[0].at})
}

// TestSetTells has relays of a set be killed, and one be stopped, under connections that do not
// outlive their links: those that a relay has led are told at once that it was killed, and go on if
// it was stopped.
func TestSetTells(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	s := newTrio(me)
	at := s.addresses()
	me.startNamed(at[0], "db", service(t, func(c conn) {
		if _, err := io.WriteString(c, nameTag("db")); err == nil {
			echo(c)
		}
	}))
	s.settles("db", me.identifier())
	inlet := me.inletTo("db@"+at[1], "--connect-timeout", unhurried(10*time.Second).String())
	open := func() (all []conn) {
		for range testenv.OfRun(6, 20, 100) {
			all = append(all, tagged(t, inlet, "db"))
		}
		return all
	}
	reach := func() { _ = tagged(t, inlet, "db").Close() } // or its relay keeps the name for it
	var ends []<-chan ending
	for _, c := range open() {
		ends = append(ends, ended(c))
	}
	var killed []time.Time
	homes := s.homes("db")[:homesEach]
	for _, home := range homes {
		reach()
		killed = append(killed, time.Now())
		home.killed()
	}
	for _, end := range ends {
		e := testkit.Within(t, end, "the end of a connection")
		since := killed[0]
		if e.at.After(killed[1]) {
			since = killed[1]
		}
		if e.err == nil || !inTimeAt(since, e.at, time.Second) {
			t.Errorf("a connection has ended %v after its relay: %v", e.at.Sub(since), e.err)
		}
	}
	s.settles("db", me.identifier())
	reach()
	for _, home := range homes {
		home.begin(at...)
	}
	s.meets()
	s.settles("db", me.identifier())
	conns := open()
	for _, home := range homes {
		home.signal(syscall.SIGTERM)
		home.says("stopping")
		reach()
		for _, c := range conns {
			if err := echoes(c, "still here"); err != nil {
				t.Error(err)
			}
		}
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// TestSetNames has two identities claim one name on relays of a set: as on a single relay, the
// second one is refused, wherever it comes, until a day has passed.
func TestSetNames(t *testing.T) {
	t.Parallel()
	me, other := newPerson(t), newPerson(t)
	relays := testenv.OfRun(4, 5, 9)
	var at []string
	for range relays {
		at = append(at, testkit.Address(t))
	}
	s := newRelaySet(me, at, "--allow", me.identifier(), "--allow", other.identifier())
	for _, r := range s.all {
		r.begin(at...)
	}
	s.meets()
	for n := range testenv.OfRun(1, 4, 20) {
		name := fmt.Sprintf("name%d", n)
		outlet := me.startNamed(at[n%relays], name, taggedService(t, name))
		s.settles(name, me.identifier())
		refused := func(at string) {
			t.Helper()
			other.fails(notTrusted, "the name "+name+" belongs to another identity", "outlet",
				"--no-wait", "--relay", at, "--name", name, "--target", "127.0.0.1:1")
		}
		for _, where := range at {
			refused(where)
		}
		outlet.stop()
		outlet.ends(done)
		for _, where := range at {
			refused(where)
		}
		me.startNamed(at[(n+1)%relays], name, taggedService(t, name))
		s.settles(name, me.identifier())
		tagged(t, me.inletTo(name+"@"+at[(n+2)%relays]), name)
	}
}

// TestSetBesideOne has an outlet claim its name on a set and on a relay that is none of one, by
// each of which it is reached.
func TestSetBesideOne(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	s := newTrio(me)
	at := s.addresses()
	_, single := me.startRelay()
	me.startNamed(at[0], "db", taggedService(t, "db"), "--relay", single)
	s.settles("db", me.identifier())
	both := me.inletTo("db@"+single, "--to", "db@"+at[1])
	tagged(t, both, "db")
	tagged(t, me.inletTo("db@"+single), "db")
	tagged(t, me.inletTo("db@"+at[2]), "db")
	for _, r := range s.running() {
		r.killed()
	}
	tagged(t, both, "db")
}

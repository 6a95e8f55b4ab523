package test

import (
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testkit"
)

// TestSetClocks has the relays of a set have clocks that are years apart, and jump: names are
// whose they were, whether or not he holds them, and nobody is told that they are free.
func TestSetClocks(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	rival := me.another()
	at := []string{testkit.Address(t), testkit.Address(t), testkit.Address(t)}
	s := newRelaySet(me, at, "--allow", me.identifier(), "--allow", rival.identifier())
	const year = 365 * 24 * time.Hour
	for i, r := range s.all {
		s.owner = me.withClock(time.Duration(i-1) * 3 * year)
		r.begin(at...)
	}
	s.meets()
	outlet := me.startNamed(at[0], "db", taggedService(t, "db"))
	s.settles("db", me.identifier())
	inlet := me.inletTo("db@" + at[1])
	refused := func() {
		t.Helper()
		for _, where := range at {
			rival.fails(notTrusted, "the name db belongs to another identity", "outlet", "--no-wait",
				"--relay", where, "--name", "db", "--target", "127.0.0.1:1")
		}
	}
	refused()
	s.all[0].signal(jumpAhead)
	s.all[1].signal(jumpBack)
	refused()
	_ = tagged(t, inlet, "db").Close()
	outlet.stop()
	outlet.ends(done)
	s.all[2].signal(jumpAhead)
	refused()
	me.startNamed(at[2], "db", taggedService(t, "db"))
	s.settles("db", me.identifier())
	tagged(t, inlet, "db")
}

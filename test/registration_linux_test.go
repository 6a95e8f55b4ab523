package test

import (
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/testenv"
)

// TestTakeover has an outlet come back while its old process hangs: the name is its own at once.
func TestTakeover(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	relay, address := me.startRelay()
	old := me.startNamed(address, "db", named(t, "1"))
	inlet := me.inletTo("db@" + address)
	reaches(t, inlet, "1")

	eventually(t, "standby links of the old outlet", func() bool {
		return old.connectedTo(address) >= 3
	})
	before := old.connectedTo(address)
	old.freeze()
	began := time.Now()
	me.startNamed(address, "db", named(t, "2"))
	fresh := me.inletTo("db@" + address)
	reaches(t, fresh, "2")
	took := time.Since(began)
	if !inTime(began, 5*time.Second) {
		t.Errorf("it took %v to take the name over", took)
	}
	relay.says("outlet gone")
	// What is left is the session itself, until its pings tell, and the connection that is in use.
	eventually(t, "the old registration's connections are closed", func() bool {
		return old.connectedTo(address) <= 3
	})
	t.Logf("taken over in %v; the old outlet had %d connections to the relay and has %d", took,
		before, old.connectedTo(address))
}

// TestDeadRegistration has an outlet hang, and its name go within 15 s.
func TestDeadRegistration(t *testing.T) {
	t.Parallel()
	const within = 16 * time.Second // one of which is for this machine to get round to it
	me := newPerson(t)
	keepalive := testenv.OfFull(min(unhurried(time.Second), channel.DefaultKeepalive),
		channel.DefaultKeepalive)
	relay, address := me.startRelay("--keepalive", keepalive.String())
	outlet := me.startNamed(address, "db", named(t, "1"))
	reaches(t, me.inletTo("db@"+address), "1")

	outlet.freeze()
	began := time.Now()
	relay.says("outlet gone")
	if took := time.Since(began); !inTime(began, within) {
		t.Errorf("gone after %v, want %v", took, within)
	} else {
		t.Logf("gone after %v", took)
	}
	me.fails(unreachable, "no outlet named db", "inlet", "--no-wait", "--listen", anywhere,
		"--to", "db@"+address)
}

package test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// What an inlet logs.
const (
	goesDirectly  = "connections go directly"
	goesByRelay   = "connections go over the relay again"
	noDirectWay   = "no direct way: connections go over the relay"
	eitherWay     = "connections go " // one of the three above
	staysOnRelay  = "connections that end with their links stay on the relay"
	directVoices  = 3
	directOnRelay = 8 // times as many bytes as the relay still sees go directly, at least
)

// directPace is the time between two pieces of each connection.
func directPace() time.Duration {
	return testenv.OfRun(40*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond)
}

// behindNATs is an outlet and an inlet behind NATs, joined by a relay, and steady connections.
type behindNATs struct {
	*nats
	who    person
	relay  *process
	inlet  *process
	where  string
	chorus *chorus
}

func newBehindNATs(t *testing.T, who person, n *nats, flags ...string) *behindNATs {
	t.Helper()
	b := &behindNATs{nats: n, who: who}
	b.relay = b.who.in(n.public).start("relay", "--listen", publicRelay,
		"--allow", b.who.identifier())
	b.relay.ready()
	target := serveInside(t, n.far, answeringSteady(t))
	b.who.in(n.far).startNamed(publicRelay, "db", target, flags...)
	b.inlet = b.who.in(n.near).start(append([]string{
		"inlet", "--listen", anywhere, "--to", "db@" + publicRelay, "--log-level", "debug",
	}, flags...)...)
	b.where = b.inlet.ready()
	conns := make([]conn, directVoices)
	for i := range conns {
		conns[i] = b.dial(t)
	}
	b.chorus = newChorusOf(t, directPace(), conns...)
	return b
}

func (b *behindNATs) dial(t *testing.T) conn { return dialInside(t, b.near, b.where) }

// passesRelay checks that what the connections carry does not come to the relay any more.
func (b *behindNATs) passesRelay(t *testing.T, c *chorus) {
	t.Helper()
	before, relay := c.carried.Load(), b.toRelay(t)
	if relay == 0 {
		t.Fatal("what comes to the relay is not seen")
	}
	enough := testenv.OfRun[int64](192<<10, 512<<10, 512<<10)
	eventually(t, "connections carry something", func() bool {
		return c.carried.Load()-before > enough
	})
	carried, seen := c.carried.Load()-before, b.toRelay(t)-relay
	t.Logf("%d KiB have been carried, and %d KiB have come to the relay", carried>>10, seen>>10)
	if seen*directOnRelay > carried {
		t.Errorf("%d bytes have come to the relay, while %d were carried", seen, carried)
	}
}

// TestDirect has two ends behind NATs meet, and what is between them break: no byte is lost, and
// all that is open goes on.
func TestDirect(t *testing.T) {
	t.Parallel()
	b := newBehindNATs(t, survivor(t), newNATs(t, sameForAll, sameForAll, dropsStrangers))
	b.inlet.says(goesDirectly)
	b.chorus.goesOn()
	b.passesRelay(t, b.chorus)
	trace := b.who.in(b.near).must("trace", "--to", "db@"+publicRelay)
	if !strings.Contains(trace, "\ndirect "+publicNet+".12:") {
		t.Errorf("trace says: %s", trace)
	}
	status := b.who.in(b.near).must("status")
	if !strings.Contains(status, "direct to "+publicNet+".12:") {
		t.Errorf("status says: %s", status)
	}
	eventually(t, "status says of each connection that it goes directly, at both ends", func() bool {
		return strings.Count(b.who.must("status"), "(goes directly)") >= 2*directVoices
	})
	doctor := b.who.in(b.near).must("doctor", "--no-service", "--to", "db@"+publicRelay)
	if !strings.Contains(doctor, "ok       direct       connections go to "+publicNet+".12:") {
		t.Errorf("doctor says: %s", doctor)
	}
	b.who.in(b.far).startNamed(publicRelay, "bench", "bench:")
	bench := b.who.in(b.near).must("bench", "--duration", "100ms", "bench@"+publicRelay)
	if !strings.Contains(bench, "it goes to "+publicNet+".12:") {
		t.Errorf("bench says: %s", bench)
	}
	later := newChorusOf(t, directPace(), b.dial(t))
	b.part(t)
	b.inlet.says(goesByRelay)
	b.chorus.goesOn()
	later.goesOn()
	newChorusOf(t, directPace(), b.dial(t)).ends()
	later.ends()
	b.chorus.ends()
}

// TestDirectAgain has the relay end, and with it the session and the direct way: what is open goes
// on in another session when there is a relay again, and directly.
func TestDirectAgain(t *testing.T) {
	t.Parallel()
	b := newBehindNATs(t, survivor(t), newNATs(t, sameForAll, sameForAll, dropsStrangers))
	b.inlet.says(goesDirectly)
	b.relay.kill()
	b.relay.again()
	b.inlet.saysTimes(goesDirectly, 2)
	b.chorus.goesOn()
	b.passesRelay(t, b.chorus)
	b.chorus.ends()
	b.inlet.says("direct=true")
}

// TestDirectWithoutSurviving has connections that end with their links stay on the relay: they
// could not come back there when the direct way breaks.
func TestDirectWithoutSurviving(t *testing.T) {
	t.Parallel()
	who := newPerson(t)
	b := newBehindNATs(t, who, newNATs(t, sameForAll, sameForAll, dropsStrangers), "--survive", "0")
	b.inlet.says(staysOnRelay)
	b.chorus.goesOn()
	b.part(t)
	b.chorus.goesOn()
	newChorusOf(t, directPace(), b.dial(t)).ends()
	b.chorus.ends()
	if b.inlet.said(goesDirectly) > 0 {
		t.Error("they have gone directly")
	}
}

// TestDirectIsNot has ends that cannot meet stay on the relay, without harm.
func TestDirectIsNot(t *testing.T) {
	t.Parallel()
	for i, c := range []struct{ near, far, strangers, outcome string }{
		{oneForEach, sameForAll, dropsStrangers, noDirectWay},
		{sameForAll, oneForEach, dropsStrangers, noDirectWay},
		{oneForEach, oneForEach, resetsStrangers, noDirectWay},
		// They meet if neither one's first packet is at the other's NAT before that one's own.
		{sameForAll, sameForAll, resetsStrangers, eitherWay},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			b := newBehindNATs(t, survivor(t), newNATs(t, c.near, c.far, c.strangers))
			b.inlet.says(c.outcome)
			b.chorus.goesOn()
			newChorusOf(t, directPace(), b.dial(t)).ends()
			b.chorus.ends()
		})
	}
}

// TestDirectIsOff has either end say that it does not want to.
func TestDirectIsOff(t *testing.T) {
	t.Parallel()
	n := newNATs(t, sameForAll, sameForAll, dropsStrangers)
	b := newBehindNATs(t, survivor(t), n, "--direct=false")
	trace := b.who.in(b.near).must("trace", "--to", "db@"+publicRelay)
	if !strings.Contains(trace, "\nnot direct: ") {
		t.Errorf("trace says: %s", trace)
	}
	doctor := b.who.in(b.near).must("doctor", "--no-service", "--to", "db@"+publicRelay)
	if !strings.Contains(doctor, "skipped  direct       connections stay on the relay: ") {
		t.Errorf("doctor says: %s", doctor)
	}
	b.chorus.ends()
}

// TestDirectLeaves has an outlet stop in good order when the last of a connection is still on a
// slow direct way: all of it arrives.
func TestDirectLeaves(t *testing.T) {
	t.Parallel()
	n := newNATs(t, sameForAll, sameForAll, dropsStrangers)
	who, said := survivor(t), make([]byte, 200<<10)
	who.in(n.public).start("relay", "--listen", publicRelay, "--allow", who.identifier()).ready()
	wrote := make(chan error, 2)
	target := serveInside(t, n.far, func(c conn) {
		if _, err := io.ReadAll(c); err != nil {
			wrote <- err
			return
		}
		_, err := c.Write(said)
		wrote <- errors.Join(err, c.CloseWrite())
	})
	outlet := who.in(n.far).startNamed(publicRelay, "db", target)
	inlet := who.in(n.near).start("inlet", "--listen", anywhere, "--to", "db@"+publicRelay)
	where := inlet.ready()
	ask := func() conn {
		c := dialInside(t, n.near, where)
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	hears := func(c conn) {
		t.Helper()
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if b, err := io.ReadAll(c); err != nil || len(b) != len(said) {
			t.Errorf("%d of %d bytes have come: %v", len(b), len(said), err)
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	}
	hears(ask())
	inlet.says(goesDirectly)
	ip(t, "netns", "exec", n.far, testenv.NeedTool(t, "tc"), "qdisc", "add", "dev", "eth", "root",
		"tbf", "rate", "4mbit", "burst", "32kbit", "limit", "1mb")
	c := ask()
	err := <-wrote
	wrote <- err
	outlet.stop()
	hears(c)
	outlet.ends(0)
}

//go:build unix

package test

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/internal/testkit"
)

const afterService = 1 << 20 // what a client sends after the service has ended its direction

// bothWays is how much goes through each topology, each way.
func bothWays() int64 { return testenv.OfRun[int64](512<<10, 2<<20, 100<<20) }

// arrangement is a topology. build builds it in front of a target, and returns the route to its
// outlet.
type arrangement struct {
	name  string
	build func(me person, target string) (route string)
}

// topologies are those a user may build. Each function builds one in front of a target, and returns
// the route to its outlet.
var topologies = []arrangement{
	// inlet ── outlet
	{"direct", func(me person, target string) string {
		_, outlet := me.startOutlet(target)
		return outlet
	}},
	// inlet ── relay ◀── outlet
	{"relay", func(me person, target string) string {
		_, relay := me.startRelay()
		me.startNamed(relay, "db", target)
		return "db@" + relay
	}},
	// inlet ── relay ◀── outlet, over the one connection that the outlet has made
	{"relay mux", func(me person, target string) string {
		_, relay := me.startRelay()
		me.startNamed(relay, "db", target, "--mux")
		return "db@" + relay
	}},
	// inlet ── relay 1 ◀── relay 2 ◀── outlet
	{"two relays", func(me person, target string) string {
		other := me.another()
		_, first := me.startRelay("--allow", other.relayIdentifier())
		second, address := other.startRelay("--relay", first, "--name", "second",
			"--allow", me.identifier())
		second.says("msg=registered")
		me.startNamed(address, "db", target)
		return step(first) + forwardTo("second") + forwardTo("db") + toOutlet
	}},
	// inlet ── bridge ── outlet
	{"bridge", func(me person, target string) string {
		_, outlet := me.startOutlet(target)
		_, bridge := me.startBridge(outlet)
		return bridge + "/" + outlet
	}},
	// inlet ── bridge ── outlet, without a channel to the bridge
	{"open bridge", func(me person, target string) string {
		_, outlet := me.startOutlet(target)
		_, bridge := me.startBridge(outlet, "--open")
		return step(bridge) + step(outlet) + toOutlet
	}},
	// inlet ── relay ◀── outlet, with a channel to the relay, in it one to the outlet
	{"private relay", func(me person, target string) string {
		_, relay := me.startRelay(append(me.ownKey(), "--private")...)
		me.startNamed(relay, "db", target)
		return relay + "/db@"
	}},
	// inlet ── bridge ── relay ◀── bridge ◀── outlet: the private relay knows who has come by a bridge
	{"bridge, private relay, bridge", func(me person, target string) string {
		_, relay := me.startRelay(append(me.ownKey(), "--private")...)
		_, near := me.startBridge(relay)
		_, far := me.startBridge(relay)
		me.startNamed(far+"/"+relay, "db", target)
		return near + "/" + relay + "/db@"
	}},
	// inlet ── relay 1 ◀── relay 2 ◀── outlet, with a channel to each
	{"two private relays", func(me person, target string) string {
		private := append(me.ownKey(), "--private")
		_, first := me.startRelay(private...)
		second, address := me.startRelay(append(private, "--relay", first, "--name", "branch")...)
		second.says("msg=registered")
		me.startNamed(address, "db", target)
		return first + "/branch@/db@"
	}},
	// inlet ── relay 1 ◀── relay 2 ◀── outlet, with a channel to the second, which is private
	{"relay, private relay", func(me person, target string) string {
		_, first := me.startRelay()
		second, address := me.startRelay(append(me.ownKey(), "--private",
			"--relay", first, "--name", "branch")...)
		second.says("msg=registered")
		me.startNamed(address, "db", target)
		return "branch@" + first + "/db@"
	}},
	// inlet ── bridge ── bridge ── outlet
	{"two bridges", func(me person, target string) string {
		_, outlet := me.startOutlet(target)
		_, second := me.startBridge(outlet)
		_, first := me.startBridge(second)
		return first + "/" + second + "/" + outlet
	}},
	// inlet ── bridge ── relay ◀── bridge ◀── outlet: the outlet, too, reaches the relay through a
	// bridge only
	{"bridge, relay, bridge", func(me person, target string) string {
		_, relay := me.startRelay()
		_, near := me.startBridge(relay)
		_, far := me.startBridge(relay)
		me.startNamed(far+"/"+relay, "db", target)
		return near + "/db@" + relay
	}},
	// inlet ── bridge ── relay ◀── bridge ── outlet: it is the bridge that has a name on the relay
	{"bridge, relay, named bridge", func(me person, target string) string {
		_, outlet := me.startOutlet(target)
		_, relay := me.startRelay()
		_, near := me.startBridge(relay)
		far, _ := me.startBridge(outlet, "--relay", relay, "--name", "site")
		far.says("msg=registered")
		return near + "/site@" + relay + "/" + outlet
	}},
	// inlet ── relay ◀── outlet, with two more channels inside the one to the outlet
	{"channel in channel in channel", func(me person, target string) string {
		_, relay := me.startRelay()
		me.startNamed(relay, "db", target)
		return step(relay) + forwardTo("db") + toAgain + toAgain + toOutlet
	}},
	// inlet ── bridge ── relay ◀── outlet, with a channel to the bridge, in it one to the relay, in
	// it one to the outlet
	{"channel to each node", func(me person, target string) string {
		_, relay := me.startRelay(me.ownKey()...)
		_, bridge := me.startBridge(relay)
		me.startNamed(relay, "db", target)
		return step(bridge) + toChannel + step(relay) + toChannel + forwardTo("db") + toOutlet
	}},
}

// TestTopologies sends a lot each way through each topology, with SP_FULL=1 100 MiB, with
// half-closes, and tries the whole route.
func TestTopologies(t *testing.T) {
	t.Parallel()
	for _, topology := range topologies {
		t.Run(topology.name, func(t *testing.T) {
			me := newPerson(t)
			m := newMirror(t, bothWays())
			to := topology.build(me, m.address)
			m.transfers(t, me.inletTo(to))
			for _, command := range [][]string{
				{"ping", "-c", "1", "--to", to},
				{"trace", "--to", to},
			} {
				if me.must(command...) == "" {
					t.Errorf("sp %v prints nothing", command)
				}
			}
		})
	}
}

// transfers sends a mirror's stream each way, with either end first.
func (m *mirror) transfers(t *testing.T, inlet string) {
	t.Helper()
	if err := m.both(dial(t, inlet)); err != nil {
		t.Error("client ends first:", err)
	}
	if err := m.afterEnd(dial(t, inlet), afterService); err != nil {
		t.Error("service ends first:", err)
	}
}

// TestTenInlets has ten inlets reach the same outlet at once, behind a relay, and all of them
// several connections.
func TestTenInlets(t *testing.T) {
	t.Parallel()
	const inlets, connections = 10, 2
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("mux=%t", mux), func(t *testing.T) {
			m := newMirror(t, bothWays()/inlets/connections)
			w := newTopology(t, plan{
				relay: true, target: m.address, inlets: inlets,
				outlet: []string{fmt.Sprintf("--mux=%t", mux)},
			})
			var tasks sync.WaitGroup
			for i, address := range w.addresses {
				for range connections {
					c := dial(t, address)
					tasks.Go(func() {
						if err := m.both(c); err != nil {
							t.Errorf("inlet %d: %v", i, err)
						}
					})
				}
			}
			tasks.Wait()
		})
	}
}

// TestNetworksApart has an inlet and an outlet in networks that cannot reach each other.
func TestNetworksApart(t *testing.T) {
	t.Parallel()
	n := newNetworks(t)
	middle := n.nearNet + ".1"
	for _, topology := range []struct {
		name  string
		build func(me person, target string) (route string)
	}{
		{"relay", func(me person, target string) string {
			me.in(n.middle).start(me.relayAt(":4000")...).ready()
			me.in(n.far).startNamed(n.farNet+".1:4000", "db", target)
			return "db@" + middle + ":4000"
		}},
		{"bridge", func(me person, target string) string {
			me.in(n.far).start("outlet", "--listen", ":7000", "--target", target).ready()
			me.in(n.middle).start("bridge", "--listen", ":4000",
				"--next", n.farNet+".0/24:7000").ready()
			return middle + ":4000/" + n.farNet + ".2:7000"
		}},
	} {
		t.Run(topology.name, func(t *testing.T) {
			me := newPerson(t)
			n.apart(me)
			m := me.unixMirror(bothWays())
			to := topology.build(me, m.address)
			listens := "unix:" + me.home + "/inlet"
			inlet := me.in(n.near).start("inlet", "--listen", listens, "--to", to)
			if line := inlet.ready(); line != listens {
				t.Errorf("the inlet listens at %s, want %s", line, listens)
			}
			m.transfers(t, listens)
			n.apart(me)
			if topology.name == "bridge" { // its own address there is not in that network
				own := n.farNet + ".1:7000"
				me.in(n.near).fails(notTrusted, "forwarding to "+own+" is not allowed here",
					"send", "--to", middle+":4000/"+own, "hello")
			}
		})
	}
}

// TestSeveralRoutes has an inlet go by the second of its routes when the first is down, and back to
// the first when that is well again. Connections that are up do not notice.
func TestSeveralRoutes(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	first, second := named(t, "1"), named(t, "2")
	address := testkit.Address(t)
	outlet := me.start("outlet", "--listen", address, "--target", first)
	outlet.ready()
	_, other := me.startOutlet(second)
	inlet := me.start("inlet", "--listen", anywhere, "--to", address, "--to", other)
	listens := inlet.ready()

	eventually(t, "the first route is open, too", func() bool {
		_, name := reached(t, listens, 1)
		return name == "1"
	})
	outlet.kill()
	inlet.says("far end not reached")
	up := reaches(t, listens, "2")

	me.start("outlet", "--listen", address, "--target", first).ready()
	inlet.says("far end reached")
	reaches(t, listens, "1")
	if err := echoes(up, "still here"); err != nil {
		t.Error("the connection on the second route:", err)
	}
}

// TestSeveralRelays has an outlet registered with two relays, and an inlet that knows both.
func TestSeveralRelays(t *testing.T) {
	t.Parallel()
	me := newPerson(t)
	me.middle = new([]*process) // they come back
	service := named(t, "s")
	relay, first := me.startRelay()
	other, second := me.startRelay()
	outlet := me.start("outlet", "--relay", first, "--relay", second, "--name", "db",
		"--target", service)
	outlet.saysTimes("msg=registered", 2)
	other.kill() // or streams could take the second route before the first is there
	inlet := me.start("inlet", "--listen", anywhere, "--to", "db@"+first, "--to", "db@"+second)
	listens := inlet.ready()
	reaches(t, listens, "s")

	other = me.start(me.relayAt(second)...)
	other.ready()
	outlet.saysTimes("msg=registered", 3)
	inlet.says("far end reached")
	relay.kill()
	inlet.says(`new streams take another path" route=/ip4/127.0.0.1/tcp/` +
		second[len("127.0.0.1:"):])
	up := reaches(t, listens, "s")

	me.start(me.relayAt(first)...).ready()
	outlet.saysTimes("msg=registered", 4)
	inlet.saysTimes("far end reached", 2)
	if err := echoes(up, "still here"); err != nil {
		t.Error("the connection through the second relay:", err)
	}
	other.kill()
	reaches(t, listens, "s")
}

// TestRelayGoesAway has a relay drain. What goes through it goes on; what is new goes by the other
// one before the first is gone, and that is as soon as nothing goes through it any more.
func TestRelayGoesAway(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"", "/secure/api"} {
		t.Run("db"+way, func(t *testing.T) {
			t.Parallel()
			relayGoesAway(t, way)
		})
	}
}

// relayGoesAway is TestRelayGoesAway; inside is a channel in the channel.
func relayGoesAway(t *testing.T, inside string) {
	t.Helper()
	me := newPerson(t)
	service := named(t, "s")
	relay, first := me.startRelay("--drain", "1h")
	_, second := me.startRelay()
	outlet := me.start("outlet", "--relay", first, "--relay", second, "--name", "db",
		"--target", service)
	outlet.saysTimes("msg=registered", 2)
	by := func(relay string) string {
		return step(relay) + forwardTo("db") + "/secure/api" + inside + "/service/outlet"
	}
	inlet := me.start("inlet", "--listen", anywhere, "--to", by(first), "--to", by(second))
	listens := inlet.ready()
	up := reaches(t, listens, "s")

	relay.stop()
	outlet.says("not registered")
	inlet.says("far end not reached")
	reaches(t, listens, "s")
	if err := echoes(up, "goes on"); err != nil {
		t.Fatal("the connection through the relay that is going away:", err)
	}
	_ = up.Close()
	relay.ends(done)
}

// TestDrainBehindRelay has an outlet behind a relay stop: what is open goes on, and its last bytes
// arrive at whoever takes them slowly.
func TestDrainBehindRelay(t *testing.T) {
	t.Parallel()
	for _, more := range [][]string{nil, {"--mux"}} {
		t.Run(fmt.Sprint(more), func(t *testing.T) {
			t.Parallel()
			drainBehindRelay(t, more)
		})
	}
}

func drainBehindRelay(t *testing.T, more []string) {
	t.Helper()
	const size = 8 << 20
	me := newPerson(t)
	_, relay := me.startRelay()
	reached, begin, sent := make(chan struct{}, 1), make(chan struct{}), make(chan error, 1)
	target := service(t, func(c conn) {
		_, err := io.ReadFull(c, make([]byte, 1))
		if err == nil {
			reached <- struct{}{}
			<-begin
			err = sendStream(c, 1, size)
		}
		sent <- err
	})
	outlet := me.startNamed(relay, "db", target, more...)
	client := dial(t, me.inletTo("db@"+relay))
	send(t, client, "x")
	halfClose(t, client)
	testkit.Within(t, reached, "the connection")
	outlet.stop()
	outlet.says("waiting for open connections")
	close(begin)
	got := make([]byte, size) // of which the second half is taken when the outlet is gone
	if _, err := io.ReadFull(client, got[:size/2]); err != nil {
		t.Fatal(err)
	}
	if err := testkit.Within(t, sent, "the target's end"); err != nil {
		t.Fatal(err)
	}
	outlet.ends(done)
	if _, err := io.ReadFull(client, got[size/2:]); err != nil {
		t.Fatal("the last bytes:", err)
	}
	if want, _ := io.ReadAll(stream(1, size)); !bytes.Equal(got, want) {
		t.Error("wrong bytes")
	}
	receivesEnd(t, client)
}

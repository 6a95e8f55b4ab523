//go:build unix

package test

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
)

const (
	labSize    = 100 << 20 // each way, through each topology
	labRest    = 1 << 20   // after the service has ended its direction
	labInlets  = 10
	labPerEach = labSize / labInlets
)

// topologies are those a user may build. Each function builds one in front of a target, and returns the route to its
// outlet.
var topologies = []struct {
	name  string
	build func(l *nodes, target string) (route string)
}{
	// inlet ── outlet
	{"direct", func(l *nodes, target string) string {
		_, outlet := l.outlet(target)
		return outlet
	}},
	// inlet ── relay ◀── outlet
	{"relay", func(l *nodes, target string) string {
		_, relay := l.relay()
		l.registered(relay, "db", target)
		return "db@" + relay
	}},
	// inlet ── relay ◀── outlet, over the one connection that the outlet has made
	{"relay mux", func(l *nodes, target string) string {
		_, relay := l.relay()
		l.registered(relay, "db", target, "--mux")
		return "db@" + relay
	}},
	// inlet ── relay 1 ◀── relay 2 ◀── outlet
	{"two relays", func(l *nodes, target string) string {
		_, first := l.relay()
		second, address := l.relay("--relay", first, "--name", "second")
		second.says("msg=registered", 1)
		l.registered(address, "db", target)
		return step(first) + forwardTo("second") + forwardTo("db") + labOutlet
	}},
	// inlet ── bridge ── outlet
	{"bridge", func(l *nodes, target string) string {
		_, outlet := l.outlet(target)
		_, bridge := l.bridge(outlet)
		return step(bridge) + step(outlet) + labOutlet
	}},
	// inlet ── bridge ── bridge ── outlet
	{"two bridges", func(l *nodes, target string) string {
		_, outlet := l.outlet(target)
		_, second := l.bridge(outlet)
		_, first := l.bridge(second)
		return step(first) + step(second) + step(outlet) + labOutlet
	}},
	// inlet ── bridge ── relay ◀── bridge ◀── outlet: the outlet, too, reaches the relay through a bridge only
	{"bridge, relay, bridge", func(l *nodes, target string) string {
		_, relay := l.relay()
		_, near := l.bridge(relay)
		_, far := l.bridge(relay)
		l.registered(step(far)+step(relay), "db", target)
		return step(near) + step(relay) + forwardTo("db") + labOutlet
	}},
	// inlet ── bridge ── relay ◀── bridge ── outlet: it is the bridge that has a name on the relay
	{"bridge, relay, named bridge", func(l *nodes, target string) string {
		_, outlet := l.outlet(target)
		_, relay := l.relay()
		_, near := l.bridge(relay)
		far, _ := l.bridge(outlet, "--relay", relay, "--name", "site")
		far.says("msg=registered", 1)
		return step(near) + step(relay) + forwardTo("site") + step(outlet) + labOutlet
	}},
	// inlet ── relay ◀── outlet, with two more channels inside the one to the outlet
	{"channel in channel in channel", func(l *nodes, target string) string {
		_, relay := l.relay()
		l.registered(relay, "db", target)
		return step(relay) + forwardTo("db") + labAgain + labAgain + labOutlet
	}},
	// inlet ── bridge ── relay ◀── outlet, with a channel to the bridge, in it one to the relay, in it one to the outlet
	{"channel to each node", func(l *nodes, target string) string {
		_, relay := l.relay()
		_, bridge := l.bridge(relay)
		l.registered(relay, "db", target)
		return step(bridge) + labChannel + step(relay) + labChannel + forwardTo("db") + labOutlet
	}},
}

// TestTopologies sends 100 MiB each way through each topology, with half-closes, and tries the whole route.
func TestTopologies(t *testing.T) {
	t.Parallel()
	for _, topology := range topologies {
		t.Run(topology.name, func(t *testing.T) {
			l := newNodes(t)
			m := newMirror(t, labSize)
			to := topology.build(l, m.address)
			inlet := l.inlet(to)
			if err := m.both(labDial(t, inlet)); err != nil {
				t.Error("client ends first:", err)
			}
			if err := m.afterEnd(labDial(t, inlet), labRest); err != nil {
				t.Error("service ends first:", err)
			}
			for _, command := range [][]string{{"ping", "-c", "1", "--to", to}, {"trace", "--to", to}} {
				if r := l.run(command...); r.code != 0 || r.stdout == "" {
					t.Errorf("sp %v: exit code %d, %q, %q", command, r.code, r.stdout, r.stderr)
				}
			}
		})
	}
}

// TestTenInlets has ten inlets reach the same outlet at once, behind a relay, and all of them several connections.
func TestTenInlets(t *testing.T) {
	t.Parallel()
	for _, mux := range []bool{false, true} {
		t.Run(fmt.Sprintf("mux=%t", mux), func(t *testing.T) {
			l := newNodes(t)
			m := newMirror(t, labPerEach/2)
			_, relay := l.relay()
			l.registered(relay, "db", m.address, fmt.Sprintf("--mux=%t", mux))
			var inlets []*labProcess
			for range labInlets {
				inlets = append(inlets, l.start("inlet", "--listen", "127.0.0.1:0", "--to", "db@"+relay))
			}
			var tasks sync.WaitGroup
			for i, p := range inlets {
				address := p.ready()
				for range 2 {
					c := labDial(t, address)
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

// labNamed is a service that begins each connection with its one-letter name and then sends back what it gets.
func labNamed(t *testing.T, name string) string {
	t.Helper()
	return labService(t, func(c labConn) {
		if _, err := io.WriteString(c, name); err == nil {
			_, _ = io.Copy(c, c)
		}
	})
}

// reaches connects to an inlet, and expects the service of that name behind it.
func reaches(t *testing.T, inlet, name string) labConn {
	t.Helper()
	c, got := reached(t, inlet, len(name))
	if got != name {
		t.Fatalf("reached %q, want %q", got, name)
	}
	return c
}

// reached connects to an inlet, and returns the first n bytes of the service behind it.
func reached(t *testing.T, inlet string, n int) (labConn, string) {
	t.Helper()
	c := labDial(t, inlet)
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	return c, string(got)
}

// TestSeveralRoutes has an inlet go by the second of its routes when the first is down, and back to the first when that
// is well again. Connections that are up do not notice.
func TestSeveralRoutes(t *testing.T) {
	t.Parallel()
	l := newNodes(t)
	first, second := labNamed(t, "1"), labNamed(t, "2")
	outlet, address := l.outlet(first)
	_, other := l.outlet(second)
	inlet := l.start("inlet", "--listen", "127.0.0.1:0", "--to", address, "--to", other)
	listens := inlet.ready()

	eventually(t, "the first route is open, too", func() bool {
		_, name := reached(t, listens, 1)
		return name == "1"
	})
	outlet.kill()
	inlet.says("far end not reached", 1)
	up := reaches(t, listens, "2")

	l.start("outlet", "--listen", address, "--target", first).ready()
	inlet.says("far end reached", 1)
	reaches(t, listens, "1")
	if err := labEcho(up, "still here"); err != nil {
		t.Error("the connection on the second route:", err)
	}
}

// TestSeveralRelays has an outlet registered with two relays, and an inlet that knows both.
func TestSeveralRelays(t *testing.T) {
	t.Parallel()
	l := newNodes(t)
	service := labNamed(t, "s")
	relay, first := l.relay()
	other, second := l.relay()
	outlet := l.start("outlet", "--relay", first, "--relay", second, "--name", "db", "--target", service)
	outlet.says("msg=registered", 2)
	other.kill() // or streams could take the second path before the first is there
	inlet := l.start("inlet", "--listen", "127.0.0.1:0", "--to", "db@"+first, "--to", "db@"+second)
	listens := inlet.ready()
	reaches(t, listens, "s")

	other = l.start("relay", "--listen", second)
	other.ready()
	outlet.says("msg=registered", 3)
	inlet.says("far end reached", 1)
	relay.kill()
	inlet.says(`new streams take another path" route=/ip4/127.0.0.1/tcp/`+second[len("127.0.0.1:"):], 1)
	up := reaches(t, listens, "s")

	l.start("relay", "--listen", first).ready()
	outlet.says("msg=registered", 4)
	inlet.says("far end reached", 2)
	if err := labEcho(up, "still here"); err != nil {
		t.Error("the connection through the second relay:", err)
	}
	other.kill()
	reaches(t, listens, "s")
}

// TestRelayGoesAway has a relay drain. What goes through it goes on; what is new goes by the other one before the first
// is gone, and that is as soon as nothing goes through it any more.
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
	l := newNodes(t)
	service := labNamed(t, "s")
	relay, first := l.relay("--drain", "1h")
	_, second := l.relay()
	outlet := l.start("outlet", "--relay", first, "--relay", second, "--name", "db", "--target", service)
	outlet.says("msg=registered", 2)
	by := func(relay string) string {
		return step(relay) + forwardTo("db") + "/secure/api" + inside + "/service/outlet"
	}
	inlet := l.start("inlet", "--listen", "127.0.0.1:0", "--to", by(first), "--to", by(second))
	listens := inlet.ready()
	up := reaches(t, listens, "s")

	relay.stop()
	outlet.says("not registered", 1)
	inlet.says("far end not reached", 1)
	reaches(t, listens, "s")
	if err := labEcho(up, "goes on"); err != nil {
		t.Fatal("the connection through the relay that is going away:", err)
	}
	_ = up.Close()
	relay.stops()
}

// TestDrainBehindRelay has an outlet behind a relay stop: what is open goes on, and its last bytes arrive at whoever takes
// them slowly.
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
	l := newNodes(t)
	_, relay := l.relay()
	reached, begin, sent := make(chan struct{}, 1), make(chan struct{}), make(chan error, 1)
	target := labService(t, func(c labConn) {
		_, err := io.ReadFull(c, make([]byte, 1))
		if err == nil {
			reached <- struct{}{}
			<-begin
			_, err = io.Copy(c, labStream(1, size))
		}
		sent <- err
	})
	outlet := l.registered(relay, "db", target, more...)
	client := labDial(t, l.inlet("db@"+relay))
	if _, err := io.WriteString(client, "x"); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	testkit.Within(t, reached, "the connection")
	outlet.stop()
	outlet.says("waiting for open connections", 1)
	close(begin)
	got := make([]byte, size) // of which the second half is taken when the outlet is gone
	if _, err := io.ReadFull(client, got[:size/2]); err != nil {
		t.Fatal(err)
	}
	if err := testkit.Within(t, sent, "the target's end"); err != nil {
		t.Fatal(err)
	}
	outlet.stops()
	if _, err := io.ReadFull(client, got[size/2:]); err != nil {
		t.Fatal("the last bytes:", err)
	}
	if want, _ := io.ReadAll(labStream(1, size)); !bytes.Equal(got, want) {
		t.Error("wrong bytes")
	}
	if n, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d bytes behind the end, and %v", n, err)
	}
}

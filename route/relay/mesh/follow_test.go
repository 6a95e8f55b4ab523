package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/faultnet"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/homes"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// follower is an outlet and an inlet of one identity, which follow a set.
type follower struct {
	me    *identity.Identity
	inlet *route.Node
	paths *route.Failover
}

// running runs f until the test ends.
func running(t *testing.T, f func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		testkit.Within(t, ended, "the end")
	})
}

// newOutlet makes what keeps a name claimed for somebody who is told of one relay.
func newOutlet(
	t *testing.T, me *identity.Identity, name string, by route.Address,
) *homes.Outlet {
	t.Helper()
	serve := newNode(t, me, trust.Config{Self: me.Identifier()}, trust.Inlet)
	serve.HandleBasics()
	dial := newNode(t, me, trust.Config{Self: me.Identifier(), AllowAnyone: true}, trust.Inlet)
	instance, err := relay.NewInstance()
	if err != nil {
		t.Fatal(err)
	}
	return &homes.Outlet{
		Relay: route.Route{by}, Name: name, Dial: dial, Serve: serve,
		New: func(to route.Route) *relay.Client {
			return &relay.Client{Relay: to, Name: name, Dial: dial, Serve: serve, Instance: instance}
		},
	}
}

// follow starts an outlet called name that is told of one relay, and an inlet that is told of
// another.
func follow(t *testing.T, name string, outletBy, inletBy route.Address) *follower {
	t.Helper()
	f := &follower{me: testkit.NewIdentity(t)}
	up := make(chan struct{}, 64)
	outlet := newOutlet(t, f.me, name, outletBy)
	outlet.Registered = func() { up <- struct{}{} }
	running(t, outlet.Run)
	testkit.Within(t, up, "the first claim")
	f.inlet = newNode(t, f.me, trust.Config{Self: f.me.Identifier()}, trust.Inlet)
	to := []route.Route{{inletBy, route.Forward(name), secure(), svc(route.EchoName)}}
	f.paths = f.inlet.NewFailover(to)
	running(t, f.paths.Run)
	running(t, (&homes.Inlet{Node: f.inlet, Routes: to, Paths: f.paths}).Run)
	return f
}

// expectEcho sends something by the first path that is up.
func (f *follower) expectEcho(t *testing.T) {
	t.Helper()
	s, err := f.paths.OpenWith(testkit.Context(t), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Await(testkit.Context(t)); err != nil {
		t.Fatal(err)
	}
}

// at returns the relays at which a name is claimed, in the order of its homes.
func (c *cluster) at(name string) (all []int) {
	for i, m := range c.all {
		if a, _ := m.mesh.Memory.Lookup(context.Background(), name); a.Where == relay.Here {
			all = append(all, i)
		}
	}
	return all
}

// homes returns the relays at which a name is at home, the best first.
func (c *cluster) homes(name string) (all []int) {
	for _, n := range c.all[0].mesh.List().Homes(name) {
		for i, m := range c.all {
			if m.mesh.id == n.ID {
				all = append(all, i)
			}
		}
	}
	return all
}

func (f *follower) comesBy(c *cluster, name string, i int) bool {
	return f.paths.IsUp(route.Route{c.all[i].at, route.Forward(name), secure(), svc(route.EchoName)})
}

// An outlet that is told of any relay has its name claimed on the two where that is at home, and an
// inlet that is told of any comes by these; they go elsewhere when one is lost, and when one
// leaves.
func TestFollowing(t *testing.T) {
	c, seeds := newSet(t, 4)
	order := c.homes("db")
	f := follow(t, "db", seeds[order[3]], seeds[order[2]])
	isAt := func(want ...int) func() bool {
		slices.Sort(want)
		return func() bool { return slices.Equal(c.at("db"), want) }
	}
	testkit.Eventually(t, "the two homes", isAt(order[0], order[1]))
	comes := func(a, b, not int) func() bool {
		return func() bool {
			return f.comesBy(c, "db", a) && f.comesBy(c, "db", b) && !f.comesBy(c, "db", not)
		}
	}
	testkit.Eventually(t, "both paths", comes(order[0], order[1], order[2]))
	f.expectEcho(t)

	running(t, c.all[order[1]].mesh.Drain)
	testkit.Eventually(t, "another home for the one that leaves", isAt(order[0], order[2]))
	f.expectEcho(t)

	c.all[order[0]].stop()
	testkit.Eventually(t, "another home for the one that is lost", func() bool {
		at := c.at("db")
		return slices.Contains(at, order[3]) && slices.Contains(at, order[2])
	})
	testkit.Eventually(t, "the other paths", func() bool {
		return f.comesBy(c, "db", order[2]) && !f.comesBy(c, "db", order[0])
	})
	f.expectEcho(t)
}

// An outlet and an inlet whose ways in and homes are lost at the same time find the relay that is
// left, although that is far from being the name's home.
func TestFollowingLosesAllItKnew(t *testing.T) {
	const relays = 6
	c, seeds := newSet(t, relays)
	order := c.homes("db")
	left := order[relays-1]
	f := follow(t, "db", seeds[order[2]], seeds[order[3]])
	testkit.Eventually(t, "both paths", func() bool {
		return f.comesBy(c, "db", order[0]) && f.comesBy(c, "db", order[1])
	})
	for _, lost := range order[:relays-1] {
		c.all[lost].stop()
	}
	testkit.Eventually(t, "the path that is left", func() bool { return f.comesBy(c, "db", left) })
	f.expectEcho(t)
}

// A home that is also where a name leads is claimed once, though that is another address: two
// claims of one process would take the name from each other.
func TestFollowingByAName(t *testing.T) {
	names := testkit.NewNames(t)
	names.Set("relays.localhost", "127.0.0.1")
	c, _ := newSet(t, 3)
	order := c.homes("db")
	c.all[order[1]].stop() // and stays in the list for a while
	home := c.all[order[0]]
	byName := wire.Address{Kind: wire.DNS, Name: "relays.localhost", Port: home.at.Port}
	f := follow(t, "db", byName, byName)
	held := func() *relay.Lease {
		a, _ := home.mesh.Memory.Lookup(t.Context(), "db")
		return a.Lease
	}
	leases := make(map[*relay.Lease]bool)
	testkit.Eventually(t, "the third home", func() bool {
		l := held()
		if l != nil {
			leases[l] = true
		}
		return l != nil && slices.Contains(c.at("db"), order[2])
	})
	f.expectEcho(t)
	if len(leases) != 1 {
		t.Errorf("the name has been claimed %d times on one relay", len(leases))
	}
}

// Who follows a set goes by its relays, and not by what their name leads to by then: a stranger's
// machine, which takes connections and says nothing, keeps nobody from a home that is left.
func TestFollowingByALie(t *testing.T) {
	names := testkit.NewNames(t)
	names.Set("relays.localhost", "127.0.0.1")
	c, _ := newSet(t, 3)
	order := c.homes("db")
	port := c.all[order[2]].at.Port
	byName := wire.Address{Kind: wire.DNS, Name: "relays.localhost", Port: port}
	f := follow(t, "db", byName, byName)
	testkit.Eventually(t, "both paths", func() bool {
		return f.comesBy(c, "db", order[0]) && f.comesBy(c, "db", order[1])
	})

	stranger, err := net.Listen("tcp", fmt.Sprint("127.0.0.2:", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Close() })
	names.Set("relays.localhost", "127.0.0.2")
	c.all[order[0]].stop()
	c.all[order[1]].stop()
	testkit.Eventually(t, "the home that is left", func() bool {
		return slices.Equal(c.at("db"), order[2:]) && f.comesBy(c, "db", order[2])
	})
	f.expectEcho(t)
}

// newHiddenSet returns three relays that are a set, and say that they are where nobody is.
func newHiddenSet(t *testing.T) (*testkit.Names, *cluster, []wire.Address) {
	t.Helper()
	names := testkit.NewNames(t)
	c := newCluster(t, 3)
	seeds := c.seeds()
	for i, at := range seeds {
		name := fmt.Sprintf("relay%d.localhost", i)
		names.Set(name, "127.0.0.2")
		c.says = append(c.says, wire.Address{Kind: wire.DNS, Name: name, Port: at.Port})
	}
	for i := range seeds {
		c.start(t, i, seeds...)
	}
	for i := range seeds {
		c.expect(t, i, 0, 1, 2)
	}
	return names, c, seeds
}

// Who has a way to one relay of the set only, as by what spreads connections over all, claims the
// name there, and comes by there, whatever the list says; and where it is at home once there
// is a way.
func TestFollowingWithOneWay(t *testing.T) {
	names, c, seeds := newHiddenSet(t)
	order := c.homes("db")
	f := follow(t, "db", seeds[order[2]], seeds[order[1]])
	if got := c.at("db"); !slices.Equal(got, order[2:]) {
		t.Errorf("claimed at %v, want %v", got, order[2:])
	}
	f.expectEcho(t)

	for _, a := range c.says {
		names.Set(a.Name, "127.0.0.1")
	}
	want := slices.Sorted(slices.Values(order[:2]))
	testkit.Eventually(t, "the two homes", func() bool { return slices.Equal(c.at("db"), want) })
	f.expectEcho(t)
}

// A connection in a session that is there takes one round trip, also by a relay that passes it on.
func TestFollowingTakesNoRoundTripMore(t *testing.T) {
	_, c, seeds := newHiddenSet(t)
	order := c.homes("db")
	const oneWay = 100 * time.Millisecond
	far, err := faultnet.Proxy(t.Context(), "127.0.0.1:0", transport.Format(seeds[order[2]]),
		faultnet.ProxyConfig{Plan: func(int) faultnet.Plan { return faultnet.Line(oneWay, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	f := follow(t, "db", seeds[order[0]], transport.FromAddrPort(netip.MustParseAddrPort(far.Addr())))
	f.expectEcho(t)
	least := time.Hour
	for range 8 { // some of which the machine may delay
		began := time.Now()
		s, err := f.paths.OpenWith(testkit.Context(t), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Write(t, s, "hello")
		testkit.Expect(t, s, "hello")
		least = min(least, time.Since(began))
		_ = s.Close()
	}
	if least < 2*oneWay || least >= 4*oneWay {
		t.Errorf("a connection takes %v, and a round trip %v", least, 2*oneWay)
	}
}

// Somebody else's name is refused by whichever relay it is claimed, also one where it is not at
// home and nobody knows whose it is, and never had for a moment.
func TestFollowingTaken(t *testing.T) {
	const relays = 5
	c, seeds := newSet(t, relays)
	order := c.homes("db")
	f := follow(t, "db", seeds[order[4]], seeds[order[3]])
	testkit.Eventually(t, "the two homes", func() bool { return len(c.at("db")) == 2 })
	other := testkit.NewIdentity(t)
	for _, by := range order {
		outlet := newOutlet(t, other, "db", seeds[by])
		refused := make(chan error, 64)
		outlet.Registered = func() { refused <- nil }
		outlet.Failed = func(err error) {
			select {
			case refused <- err:
			default:
			}
		}
		running(t, outlet.Run)
		for taken := 0; taken < 4; { // two homes, and once more each
			err := testkit.Within(t, refused, "an answer")
			var status *route.StatusError
			switch {
			case errors.As(err, &status) && status.Code == wire.NameTaken:
				taken++
			default: // nil as well: it has had the name
				t.Fatalf("told of relay %d: %v", by, err)
			}
		}
	}
	for _, i := range order[2:] {
		c.all[i].mesh.owning.Lock()
		who, known := c.all[i].mesh.owners.Owner(time.Now(), "db")
		c.all[i].mesh.owning.Unlock()
		if known && who != f.me.Identifier() {
			t.Errorf("relay %d takes %v for the owner", i, who)
		}
	}
	f.expectEcho(t)
}

// A relay that is none of a set is used as it is.
func TestFollowingNobody(t *testing.T) {
	id := testkit.NewIdentity(t)
	alone := newNode(t, id, trust.Config{Self: id.Identifier(), AllowAnyone: true}, trust.Caller)
	relay.NewServer(alone, relay.ServerConfig{})
	l := testkit.Listen(t)
	running(t, func(ctx context.Context) {
		served := make(chan struct{})
		go func() {
			defer close(served)
			alone.Serve(context.Background(), l)
		}()
		<-ctx.Done()
		_ = alone.Close()
		<-served
	})
	at := addressOf(l)
	asker := newNode(t, id, trust.Config{Self: id.Identifier()}, trust.Inlet)
	if _, err := homes.Ask(t.Context(), asker, route.Route{at}); !errors.Is(err, homes.ErrAlone) {
		t.Errorf("asked who is in its set: %v", err)
	}
	f := follow(t, "db", at, at)
	f.expectEcho(t)
}

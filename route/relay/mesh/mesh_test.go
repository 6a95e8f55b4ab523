package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func svc(name string) wire.Address { return wire.Address{Kind: wire.Service, Name: name} }

func secure() wire.Address { return wire.Address{Kind: wire.Secure, Name: route.SecureName} }

// member is one relay of a set in a test.
type member struct {
	id     *identity.Identity
	node   *route.Node
	mesh   *Mesh
	server *relay.Server
	at     wire.Address
	stop   context.CancelFunc
	done   chan struct{}
}

// cluster is some relays that are to be a set.
type cluster struct {
	ids     []*identity.Identity
	sockets []net.Listener
	says    []wire.Address // where each says that it is; nil is where it answers itself
	all     []*member
}

func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	c := &cluster{all: make([]*member, n)}
	for range n {
		c.ids = append(c.ids, testkit.NewIdentity(t))
		c.sockets = append(c.sockets, testkit.Listen(t))
	}
	return c
}

// newSet returns n relays that are a set, and where they are.
func newSet(t *testing.T, n int) (*cluster, []wire.Address) {
	t.Helper()
	c := newCluster(t, n)
	seeds := c.seeds()
	var all []int
	for i := range n {
		c.start(t, i, seeds...)
		all = append(all, i)
	}
	for i := range n {
		c.expect(t, i, all...)
	}
	return c, seeds
}

func (c *cluster) seeds() (all []wire.Address) {
	for _, l := range c.sockets {
		all = append(all, addressOf(l))
	}
	return all
}

func (c *cluster) members() (all []identity.Identifier) {
	for _, id := range c.ids {
		all = append(all, id.Identifier())
	}
	return all
}

func addressOf(l net.Listener) wire.Address {
	return transport.FromAddrPort(netip.MustParseAddrPort(l.Addr().String()))
}

// newNode returns a node that trusts what t says.
func newNode(
	t *testing.T, id *identity.Identity, cfg trust.Config, initiators trust.Role,
) *route.Node {
	t.Helper()
	policy, err := trust.NewPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n, err := route.NewNode(route.Config{
		Channel: channel.Config{Identity: id, Trust: policy, Initiators: initiators},
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// start starts relay i, which knows some seeds.
func (c *cluster) start(t *testing.T, i int, seeds ...wire.Address) *member {
	t.Helper()
	id := c.ids[i]
	node := newNode(t, id, trust.Config{
		Self: id.Identifier(), AllowAnyone: true, Members: c.members(),
	}, trust.Caller)
	dial := newNode(t, id, trust.Config{Self: id.Identifier(), Members: c.members()}, trust.Caller)
	m := &member{id: id, node: node, at: addressOf(c.sockets[i]), done: make(chan struct{})}
	var says []wire.Address
	if c.says != nil {
		says = c.says[i : i+1]
	}
	m.mesh = New(Config{
		Node: node, Dial: dial, Self: id.Identifier(), Seeds: seeds, Addresses: says,
		Tell: func(ctx context.Context) { m.server.TellNodes(ctx) },
	})
	m.server = relay.NewServer(node, relay.ServerConfig{Directory: m.mesh, List: m.mesh.List})
	node.HandleBasics()
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		node.Serve(context.Background(), c.sockets[i])
	}()
	go func() {
		defer close(m.done)
		m.mesh.Run(ctx)
	}()
	m.stop = func() {
		stop()
		_ = node.Close()
		_ = dial.Close()
		testkit.Within(t, m.done, "Run")
		testkit.Within(t, served, "Serve")
	}
	t.Cleanup(m.stop)
	c.all[i] = m
	return m
}

// ids returns the ids of a list's nodes.
func idsOf(l *set.List) (ids []set.NodeID) {
	for _, n := range l.Nodes {
		ids = append(ids, n.ID)
	}
	return ids
}

func (c *cluster) wantIDs(of ...int) (ids []set.NodeID) {
	for _, i := range of {
		ids = append(ids, set.NodeIDOf(c.ids[i].Identifier()))
	}
	slices.SortFunc(ids, set.NodeID.Compare)
	return ids
}

func (c *cluster) expect(t *testing.T, i int, of ...int) {
	t.Helper()
	want := c.wantIDs(of...)
	testkit.Eventually(t, "the list", func() bool {
		return slices.Equal(idsOf(c.all[i].mesh.List()), want)
	})
}

// Nodes that are told of all find all; one that knows a single other one is told of the rest, and
// they of it.
func TestNodesMeet(t *testing.T) {
	c := newCluster(t, 3)
	seeds := c.seeds()
	c.start(t, 0, seeds[:2]...)
	c.start(t, 1, seeds[:2]...)
	c.expect(t, 0, 0, 1)
	c.expect(t, 1, 0, 1)
	c.start(t, 2, seeds[0], seeds[2])
	for i := range 3 {
		c.expect(t, i, 0, 1, 2)
	}
	for i, m := range c.all {
		node, _ := m.mesh.List().Find(m.mesh.id)
		if len(node.Addresses) != 1 || node.Addresses[0] != seeds[i] {
			t.Errorf("relay %d says that it is at %v", i, node.Addresses)
		}
	}
}

// Nodes find each other by a name that stands for all of them, be it by addresses of one port, or
// by SRV records, which say the ports too.
func TestNodesMeetByName(t *testing.T) {
	names := testkit.NewNames(t)
	const name = "relays.localhost"
	for what, seed := range map[string]func(t *testing.T, c *cluster) uint16{
		"addresses": func(t *testing.T, c *cluster) uint16 {
			if runtime.GOOS != "linux" {
				t.Skip("127.0.0.2 is an address elsewhere only if somebody has said so")
			}
			port := addressOf(c.sockets[0]).Port
			all := []string{"127.0.0.1"}
			for i := 1; i < len(c.sockets); i++ {
				at := fmt.Sprintf("127.0.0.%d", i+1)
				all = append(all, at)
				l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", at, port))
				if err != nil {
					t.Fatal(err)
				}
				c.sockets[i] = l
			}
			names.Set(name, all...)
			return port
		},
		"SRV": func(_ *testing.T, c *cluster) uint16 {
			var all []net.SRV
			for i, at := range c.seeds() {
				host := fmt.Sprintf("relay%d.localhost", i)
				names.Set(host, "127.0.0.1")
				all = append(all, net.SRV{Target: host, Port: at.Port})
			}
			names.SetService("_sp._tcp."+name, all...)
			return 0
		},
	} {
		t.Run(what, func(t *testing.T) {
			c := newCluster(t, 3)
			at := wire.Address{Kind: wire.DNS, Name: name, Port: seed(t, c)}
			for i := range c.all {
				c.start(t, i, at)
			}
			for i := range c.all {
				c.expect(t, i, 0, 1, 2)
			}
		})
	}
}

// Who has copied a relay's key does not make a set of it, which each of the two says.
func TestCopiedKey(t *testing.T) {
	c := newCluster(t, 2)
	c.ids[1] = c.ids[0]
	seeds := c.seeds()
	c.start(t, 0, seeds...)
	c.start(t, 1, seeds...)
	for i, m := range c.all {
		testkit.Eventually(t, "what is wrong is known", func() bool {
			return slices.ContainsFunc(m.mesh.Status(), func(n NodeStatus) bool {
				return errors.Is(n.Err, errCopy) && n.Addresses[0] == seeds[1-i]
			})
		})
		testkit.Eventually(t, "where it is itself is known", func() bool {
			return slices.Equal(m.mesh.Addresses(), seeds[i:i+1])
		})
	}
}

// A name that is claimed on one relay of a set is reached by each.
func TestNamesAreEverywhere(t *testing.T) {
	c, seeds := newSet(t, 3)
	me := testkit.NewIdentity(t)
	outlet := claimOn(t, me, seeds[1], "db")
	testkit.Within(t, outlet.up, "the registration")
	inlet := newNode(t, me, trust.Config{Self: me.Identifier()}, trust.Inlet)
	for i := range 3 {
		to := route.Route{seeds[i], route.Forward("db"), secure(), svc(route.EchoName)}
		s, err := inlet.OpenAndAwait(testkit.Context(t), to, 0, nil)
		if err != nil {
			t.Fatalf("by relay %d: %v", i, err)
		}
		testkit.Write(t, s, "hello")
		testkit.Expect(t, s, "hello")
		_ = s.Close()
	}
	to := route.Route{c.all[0].at, route.Forward("nobody"), secure(), svc(route.EchoName)}
	var status *route.StatusError
	err := inlet.Probe(testkit.Context(t), to)
	if !errors.As(err, &status) || status.Code != wire.NoService {
		t.Errorf("a name that nobody has: %v", err)
	}
}

// outletOf keeps a name claimed on one relay.
type outletOf struct {
	client *relay.Client
	up     chan struct{}
	failed chan error
	stop   func()
}

func claimOn(t *testing.T, me *identity.Identity, at wire.Address, name string) *outletOf {
	t.Helper()
	serve := newNode(t, me, trust.Config{Self: me.Identifier()}, trust.Inlet)
	serve.HandleBasics()
	anyone := newNode(t, me, trust.Config{Self: me.Identifier(), AllowAnyone: true}, trust.Inlet)
	o := &outletOf{up: make(chan struct{}, 16), failed: make(chan error, 16)}
	o.client = &relay.Client{
		Relay: route.Route{at}, Name: name, Dial: anyone, Serve: serve,
		Registered: func() { o.up <- struct{}{} },
		Failed: func(err error) {
			select {
			case o.failed <- err:
			default:
			}
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o.client.Run(ctx)
	}()
	o.stop = func() {
		cancel()
		testkit.Within(t, ended, "the client")
	}
	t.Cleanup(o.stop)
	return o
}

func isTaken(err error) bool {
	var status *route.StatusError
	return errors.As(err, &status) && status.Code == wire.NameTaken
}

// A name that has been claimed on one relay belongs to its owner on all, also when that is gone,
// and on a relay that has begun anew.
func TestOwnersAreEverywhere(t *testing.T) {
	c, seeds := newSet(t, 3)
	first, second := testkit.NewIdentity(t), testkit.NewIdentity(t)
	owner := claimOn(t, first, seeds[0], "db")
	testkit.Within(t, owner.up, "the claim")
	known := func(i int) func() bool {
		return func() bool {
			m := c.all[i].mesh
			m.owning.Lock()
			defer m.owning.Unlock()
			who, ok := m.owners.Owner(time.Now(), "db")
			return ok && who == first.Identifier()
		}
	}
	for i := range 3 {
		testkit.Eventually(t, "that all know", known(i))
	}
	thief := claimOn(t, second, seeds[1], "db")
	if err := testkit.Within(t, thief.failed, "the refusal"); !isTaken(err) {
		t.Errorf("another identity: %v", err)
	}
	thief.stop()
	elsewhere := claimOn(t, first, seeds[1], "db")
	testkit.Within(t, elsewhere.up, "the owner's other claim")
	elsewhere.stop()
	owner.stop()
	late := claimOn(t, second, seeds[2], "db")
	if err := testkit.Within(t, late.failed, "the refusal"); !isTaken(err) {
		t.Errorf("another identity, when the owner has gone: %v", err)
	}
}

// A relay that has begun anew knows nobody's names. It has not been told before those who tell it
// have heard that it is back: until then they take it for one that goes, where no name is at home.
func TestBegunAnewIsToldFirst(t *testing.T) {
	c := newCluster(t, 1)
	m := New(Config{
		Node: newNode(t, c.ids[0], trust.Config{Self: c.ids[0].Identifier()}, trust.Caller),
		Self: c.ids[0].Identifier(), Addresses: c.seeds(),
	})
	m.begun = time.Now()
	other := set.Node{ID: set.NodeID{1}, Epoch: 1, State: set.Up, Weight: 1, Addresses: c.seeds()}
	before := m.self
	before.Epoch, before.State = before.Epoch-1, set.Draining
	l := &link{peer: other.ID}
	says := func(kind byte, what []byte, err error) {
		t.Helper()
		if err == nil {
			err = m.take(l, kind, what)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	told := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.isToldLocked()
	}
	for _, test := range []struct {
		of   []set.Node
		want bool
	}{
		{[]set.Node{other}, false},
		{[]set.Node{other, before}, false},
		{[]set.Node{other, m.self}, true},
	} {
		var list set.List
		for _, n := range test.of {
			list.Put(n)
		}
		b, err := list.AppendTo(nil)
		says(kindList, b, err)
		if told() {
			t.Errorf("told by a list of %+v", test.of)
		}
		b, err = set.AppendRecords(nil, nil)
		says(kindRecords, b, err)
		if told() != test.want {
			t.Errorf("told: %v, by who knows of %+v", !test.want, test.of)
		}
	}
}

// Two relays that do not know each other give a name to two identities. When they meet, it is
// one's.
func TestPartsHeal(t *testing.T) {
	c := newCluster(t, 2)
	seeds := c.seeds()
	c.start(t, 0, seeds[0])
	c.start(t, 1, seeds[1])
	c.expect(t, 0, 0)
	c.expect(t, 1, 1)
	for _, m := range c.all { // nobody will tell them
		m.mesh.mu.Lock()
		m.mesh.begun = time.Time{}
		m.mesh.mu.Unlock()
	}
	owners := []*identity.Identity{testkit.NewIdentity(t), testkit.NewIdentity(t)}
	claims := make([]*outletOf, 2)
	for i := range 2 {
		claims[i] = claimOn(t, owners[i], seeds[i], "db")
		testkit.Within(t, claims[i].up, "the claim")
	}
	running(t, func(ctx context.Context) { c.all[0].mesh.keepJoined(ctx, seeds[1], true) })
	ownerAt := func(i int) identity.Identifier {
		m := c.all[i].mesh
		m.owning.Lock()
		defer m.owning.Unlock()
		who, _ := m.owners.Owner(time.Now(), "db")
		return who
	}
	testkit.Eventually(t, "one owner", func() bool {
		a, _ := c.all[0].mesh.Memory.Lookup(t.Context(), "db")
		b, _ := c.all[1].mesh.Memory.Lookup(t.Context(), "db")
		return ownerAt(0) == ownerAt(1) && (a.Lease == nil) != (b.Lease == nil)
	})
}

// A node that is gone is known to be away, for how long and why; and where nobody has ever answered
// is known too.
func TestAway(t *testing.T) {
	c := newCluster(t, 2)
	seeds := c.seeds()
	nobody := addressOf(testkit.Listen(t)) // accepts, and says nothing
	c.start(t, 0, append(seeds, nobody)...)
	c.start(t, 1, seeds...)
	c.expect(t, 0, 0, 1)
	c.expect(t, 1, 0, 1)
	status := func() (self, other NodeStatus) {
		for _, n := range c.all[0].mesh.Status() {
			switch {
			case n.Self:
				self = n
			case len(n.Addresses) == 1 && n.Addresses[0] == seeds[1]:
				other = n
			}
		}
		return self, other
	}
	testkit.Eventually(t, "the other is there", func() bool {
		self, other := status()
		return !self.Away && self.Addresses[0] == seeds[0] && other.ID == c.all[1].mesh.id &&
			!other.Away && other.Err == nil
	})
	before := time.Now()
	c.all[1].stop()
	testkit.Eventually(t, "the other is away", func() bool {
		_, other := status()
		return other.Away && other.Err != nil && !other.Since.Before(before)
	})
	m := c.all[0].mesh
	m.notReached(nobody, route.ErrNoAnswer)
	m.notReached(nobody, route.ErrLoop)
	all := m.Status()
	last := all[len(all)-1]
	if len(all) != 3 || last.Addresses[0] != nobody || !last.Away || last.Err != route.ErrLoop {
		t.Errorf("got %+v", all)
	}
	m.reached(nobody)
	if n := len(m.Status()); n != 2 {
		t.Errorf("there are %d", n)
	}
}

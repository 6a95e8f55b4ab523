package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a daemon and what it has told.
type lab struct {
	*Daemon
	node    config.Node
	waiting func(Waiting) // is told what it waits for, unless it is nil

	mu     sync.Mutex
	events []Event
}

func newLab(t *testing.T) *lab {
	home := t.TempDir()
	return &lab{
		node: config.Node{
			Identity: filepath.Join(home, "key"), Drain: testkit.Patience,
			Trust: config.Trust{Seen: filepath.Join(home, "seen")},
		},
	}
}

// start starts a daemon that is closed at the end of the test.
func (l *lab) start(t *testing.T, c config.Config) {
	t.Helper()
	c.Node = l.node
	options := Options{
		Logger: slog.New(slog.DiscardHandler), Notify: l.notify,
		Waiting: func(on Waiting) {
			if l.waiting != nil {
				l.waiting(on)
			}
		},
	}
	d, err := Start(testkit.Context(t), c, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	l.Daemon = d
}

func (l *lab) apply(t *testing.T, c config.Config) {
	t.Helper()
	c.Node = l.node
	if err := l.Apply(testkit.Context(t), c); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) notify(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// told is what it has told.
func (l *lab) told() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Event(nil), l.events...)
}

// count is how many events of a kind there were about portals of a name.
func (l *lab) count(kind EventKind, name string) int {
	n := 0
	for _, e := range l.told() {
		if e.Kind == kind && e.Portal.Name == name {
			n++
		}
	}
	return n
}

// status is what a portal does.
func (l *lab) status(t *testing.T, kind Kind, name string) PortalStatus {
	t.Helper()
	for _, p := range l.Status().Portals {
		if p.Kind == kind && p.Name == name {
			return p
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return PortalStatus{}
}

// ready waits until a portal is ready, and returns what it does.
func (l *lab) ready(t *testing.T, kind Kind, name string) PortalStatus {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%s %s is ready", kind, name), func() bool {
		return l.status(t, kind, name).Ready
	})
	return l.status(t, kind, name)
}

// serviceThatSays begins each connection with a greeting, and then echoes.
func serviceThatSays(t *testing.T, greeting string) (address string) {
	t.Helper()
	return testkit.Serve(t, func(c net.Conn) {
		_, _ = io.WriteString(c, greeting)
		_, _ = io.Copy(c, c)
	})
}

// connect connects, and expects a greeting.
func connect(t *testing.T, address, greeting string) net.Conn {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	testkit.Hurry(t, c)
	testkit.Expect(t, c, greeting)
	return c
}

// talk expects that what is sent on c comes back.
func talk(t *testing.T, c net.Conn, text string) {
	t.Helper()
	testkit.Write(t, c, text)
	testkit.Expect(t, c, text)
}

// isCut expects that c has been reset.
func isCut(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) && err != io.EOF {
		t.Errorf("reading what should have been cut: %v", err)
	}
}

const loopback = "127.0.0.1:0"

// pair is a daemon with two outlets behind one entrance and two inlets, and another one for the
// other ends of all four.
type pair struct {
	*lab
	config config.Config
	far    *lab
	ways   []string // where far listens for connections to the daemon's outlets
}

func newPair(t *testing.T) *pair {
	p := &pair{lab: newLab(t)}
	p.config.Outlets = []config.Outlet{
		{Entrance: config.Entrance{Listen: loopback}, Target: serviceThatSays(t, "one")},
		{Service: "web", Target: serviceThatSays(t, "two")},
	}
	p.start(t, p.config)
	p.far = &lab{node: p.node}
	p.far.node.Trust.Seen += " of far"
	far := config.Config{
		Outlets: []config.Outlet{
			{Entrance: config.Entrance{Listen: loopback}, Target: serviceThatSays(t, "three")},
			{Service: "web", Target: serviceThatSays(t, "four")},
		},
		Inlets: p.inletsTo(t, p.lab),
	}
	p.far.start(t, far)
	for _, i := range far.Inlets {
		p.ways = append(p.ways, i.Listen)
	}
	p.config.Inlets = p.inletsTo(t, p.far)
	p.apply(t, p.config)
	return p
}

// inletsTo returns inlets to the two outlets of a daemon.
func (p *pair) inletsTo(t *testing.T, l *lab) []config.Inlet {
	t.Helper()
	entrance := l.ready(t, OutletKind, "outlet").Address
	_, port, err := net.SplitHostPort(entrance)
	if err != nil {
		t.Fatal(err)
	}
	web := "/ip4/127.0.0.1/tcp/" + port + "/secure/api/service/web"
	return []config.Inlet{
		{Listen: testkit.Address(t), To: []string{entrance}},
		{Listen: testkit.Address(t), To: []string{web}},
	}
}

// in connects to an outlet of the daemon, and out through one of its inlets.
func (p *pair) in(t *testing.T, outlet int, greeting string) net.Conn {
	t.Helper()
	p.far.ready(t, InletKind, p.ways[outlet])
	return connect(t, p.ways[outlet], greeting)
}

func (p *pair) out(t *testing.T, inlet int, greeting string) net.Conn {
	t.Helper()
	at := p.config.Inlets[inlet].Listen
	p.ready(t, InletKind, at)
	return connect(t, at, greeting)
}

// copied gives the configuration lists of its own, so that the one that runs does not change.
func (p *pair) copied() {
	p.config.Outlets = append([]config.Outlet{}, p.config.Outlets...)
	p.config.Inlets = append([]config.Inlet{}, p.config.Inlets...)
}

// TestApplyLeavesAlone changes one outlet and one inlet of two, and has the other connections go
// on, byte for byte.
func TestApplyLeavesAlone(t *testing.T) {
	p := newPair(t)
	in, changedIn := p.in(t, 0, "one"), p.in(t, 1, "two")
	out, changedOut := p.out(t, 0, "three"), p.out(t, 1, "four")
	all := []net.Conn{in, changedIn, out, changedOut}
	for _, c := range all {
		talk(t, c, "before")
	}

	stays, old := p.config.Inlets[0].Listen, p.config.Inlets[1].Listen
	p.copied()
	p.config.Outlets[1].Target = serviceThatSays(t, "another")
	p.config.Inlets[1].Listen = testkit.Address(t)
	p.apply(t, p.config)

	for _, c := range all { // what has changed has time to finish
		talk(t, c, "after")
	}
	talk(t, p.in(t, 0, "one"), "again")
	talk(t, p.in(t, 1, "another"), "the new one")
	talk(t, p.out(t, 0, "three"), "again")
	talk(t, p.out(t, 1, "four"), "by the new way")
	if c, err := net.Dial("tcp", old); err == nil {
		_ = c.Close()
		t.Errorf("somebody still listens at %s", old)
	}
	for name, want := range map[string]int{stays: 1, "outlet": 1, "web": 2} {
		if n := p.count(Ready, name); n != want {
			t.Errorf("%s became ready %d times, want %d", name, n, want)
		}
	}
	testkit.Eventually(t, "connections are counted", func() bool {
		return p.status(t, InletKind, stays).Connections == 2 &&
			p.status(t, OutletKind, "outlet").Connections == 2 &&
			p.status(t, OutletKind, "web").Connections == 1
	})
}

// TestApplyCutsInTheEnd has connections of what is gone end when their time is over, and no
// others.
func TestApplyCutsInTheEnd(t *testing.T) {
	p := newPair(t)
	in, goneIn := p.in(t, 0, "one"), p.in(t, 1, "two")
	out, goneOut := p.out(t, 0, "three"), p.out(t, 1, "four")
	p.node.Drain = config.NoDrain // which changes the node, and nothing else
	p.config.Outlets, p.config.Inlets = p.config.Outlets[:1], p.config.Inlets[:1]
	p.apply(t, p.config)
	isCut(t, goneIn)
	isCut(t, goneOut)
	talk(t, in, "after")
	talk(t, out, "after")
	if n := len(p.Status().Portals); n != 2 {
		t.Errorf("there are %d portals", n)
	}
}

// TestApplySame changes nothing.
func TestApplySame(t *testing.T) {
	p := newPair(t)
	in, out := p.in(t, 0, "one"), p.out(t, 0, "three")
	p.out(t, 1, "four")
	for _, i := range p.config.Inlets {
		testkit.Eventually(t, "all is told", func() bool { return p.count(Ready, i.Listen) > 0 })
	}
	told := len(p.told())
	for range 3 {
		p.copied()
		p.config.Outlets[0].Relays = []string{} // as good as none
		p.apply(t, p.config)
		talk(t, in, "still")
		talk(t, out, "still")
	}
	if more := p.told()[told:]; len(more) > 0 {
		t.Errorf("it told %v", more)
	}
}

// TestApplyNode has another node take the place of one, whose connections have time to finish.
func TestApplyNode(t *testing.T) {
	p := newPair(t)
	out := p.out(t, 0, "three")
	p.node.Trust.Deny = []string{testkit.NewIdentity(t).Identifier().String()}
	p.apply(t, p.config)
	talk(t, out, "it has time to finish")
	talk(t, p.out(t, 0, "three"), "on the new node")
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	isCut(t, out)
}

// TestApplyBad changes nothing.
func TestApplyBad(t *testing.T) {
	p := newPair(t)
	in := p.in(t, 0, "one")
	bad := p.config
	bad.Node = p.node
	bad.Node.Trust.AllowFiles = []string{filepath.Join(t.TempDir(), "nowhere")}
	var problem *Error
	if err := p.Apply(testkit.Context(t), bad); !errors.As(err, &problem) {
		t.Errorf("got %v", err)
	} else if problem.Problem != NoListFile {
		t.Errorf("the problem is %d: %v", problem.Problem, err)
	}
	bad = p.config
	bad.Outlets = bad.Outlets[1:]
	var field *config.FieldError
	if err := p.Apply(testkit.Context(t), bad); !errors.As(err, &field) {
		t.Errorf("got %v", err)
	}
	talk(t, in, "as before")
}

// TestApplyTriesAgain has a portal that could not be started start later, and the others run.
func TestApplyTriesAgain(t *testing.T) {
	p := newPair(t)
	taken := testkit.Listen(t)
	p.copied()
	p.config.Inlets = append(p.config.Inlets, config.Inlet{
		Listen: taken.Addr().String(), To: p.config.Inlets[0].To,
	})
	next := p.config
	next.Node = p.node
	if err := p.Apply(testkit.Context(t), next); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	failed := p.status(t, InletKind, taken.Addr().String())
	if failed.Ready || !errors.Is(failed.Err, syscall.EADDRINUSE) {
		t.Errorf("it is %+v", failed)
	}
	talk(t, p.out(t, 0, "three"), "nevertheless")
	_ = taken.Close()
	p.apply(t, p.config)
	talk(t, p.out(t, 2, "three"), "at last")
}

// TestStartAllOrNothing leaves nothing behind of what began before the portal that failed.
func TestStartAllOrNothing(t *testing.T) {
	l := newLab(t)
	taken, free := testkit.Listen(t).Addr().String(), testkit.Address(t)
	_, err := Start(testkit.Context(t), config.Config{
		Node: l.node,
		Outlets: []config.Outlet{
			{Entrance: config.Entrance{Listen: free}, Target: "127.0.0.1:1"},
			{Entrance: config.Entrance{Listen: taken}, Service: "web", Target: "127.0.0.1:1"},
		},
	}, Options{Logger: slog.New(slog.DiscardHandler), Notify: l.notify})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
	if len(l.events) > 0 {
		t.Errorf("it told %v", l.events)
	}
	again, err := net.Listen("tcp", free)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

// TestShutdown waits for what is open, and takes nothing new. By when it says that, another can
// listen in its place.
func TestShutdown(t *testing.T) {
	p := newPair(t)
	in, out := p.in(t, 0, "one"), p.out(t, 0, "three")
	said, down := make(chan Waiting, 1), make(chan error, 1)
	p.waiting = func(on Waiting) {
		again, err := net.Listen("tcp", p.config.Inlets[0].Listen)
		if err == nil {
			err = again.Close()
		}
		if err != nil {
			t.Error(err)
		}
		said <- on
	}
	go func() { down <- p.Shutdown() }()
	if n := testkit.Within(t, said, "that it waits").Connections(); n != 2 {
		t.Errorf("it waits for %d connections", n)
	}
	talk(t, in, "in time")
	talk(t, out, "in time")
	_ = in.Close()
	_ = out.Close()
	if err := testkit.Within(t, down, "Shutdown"); err != nil {
		t.Error(err)
	}
	if err := p.Apply(testkit.Context(t), p.config); !errors.Is(err, ErrClosed) {
		t.Errorf("Apply afterwards: %v", err)
	}
}

// TestStatusOfInletToNowhere says why it is not ready.
func TestStatusOfInletToNowhere(t *testing.T) {
	l := newLab(t)
	l.start(t, config.Config{Inlets: []config.Inlet{
		{Listen: loopback, To: []string{testkit.Address(t)}},
	}})
	testkit.Eventually(t, "an error", func() bool {
		s := l.status(t, InletKind, loopback)
		return !s.Ready && errors.Is(s.Err, syscall.ECONNREFUSED) && s.Address != ""
	})
	if id := l.Status().Identifier; id != l.Identifier() || id.IsZero() {
		t.Errorf("the node is %v", id)
	}
}

// relayed is a daemon with a relay, a bridge, and two outlets that claim one name, and another
// one with an inlet to each.
func relayed(t *testing.T) (l *lab, c config.Config, ways []string) {
	l = newLab(t)
	relay := testkit.Address(t)
	home := config.Entrance{Relays: []string{relay}, Name: "home"}
	c = config.Config{
		Relays: []config.Relay{{Entrance: config.Entrance{Listen: relay}}},
		Bridges: []config.Bridge{{
			Entrance: config.Entrance{Listen: loopback}, Next: []string{relay},
		}},
		Outlets: []config.Outlet{
			{Entrance: home, Target: serviceThatSays(t, "one")},
			{Entrance: home, Service: "web", Target: serviceThatSays(t, "two")},
		},
	}
	l.start(t, c)
	_, bridgePort, _ := net.SplitHostPort(l.ready(t, BridgeKind, loopback).Address)
	_, relayPort, _ := net.SplitHostPort(relay)
	ways = []string{testkit.Address(t), testkit.Address(t)}
	far := &lab{node: l.node}
	far.node.Trust.Seen += " of far"
	far.start(t, config.Config{Inlets: []config.Inlet{
		{Listen: ways[0], To: []string{"home@" + relay}},
		{Listen: ways[1], To: []string{
			"/ip4/127.0.0.1/tcp/" + bridgePort + "/secure/api/ip4/127.0.0.1/tcp/" + relayPort +
				"/service/forward_to_home/secure/api/service/web",
		}},
	}})
	far.ready(t, InletKind, ways[0])
	far.ready(t, InletKind, ways[1])
	return l, c, ways
}

// TestAllKinds has one process be a relay, a bridge, and two outlets that share a name there.
func TestAllKinds(t *testing.T) {
	l, c, ways := relayed(t)
	talk(t, connect(t, ways[0], "one"), "through the relay")
	two := connect(t, ways[1], "two")
	talk(t, two, "through the bridge and the relay")
	for kind, name := range map[Kind]string{
		RelayKind: c.Relays[0].Listen, BridgeKind: loopback, OutletKind: "web",
	} {
		testkit.Eventually(t, string(kind)+" counts connections", func() bool {
			return l.status(t, kind, name).Connections > 0
		})
	}

	// One of the two goes: the claim stays, for it is the other's too.
	gone := c
	gone.Outlets = c.Outlets[1:]
	l.apply(t, gone)
	talk(t, two, "still")
}

// TestClaimChanges has the same name be claimed on other terms: by one part at a time, for two
// would take it from each other.
func TestClaimChanges(t *testing.T) {
	l, c, ways := relayed(t)
	changed := c
	changed.Outlets = append([]config.Outlet{}, c.Outlets...)
	for i := range changed.Outlets {
		changed.Outlets[i].Mux = true
	}
	l.apply(t, changed)
	l.ready(t, OutletKind, "web")
	testkit.Eventually(t, "the new claim is used", func() bool {
		s, err := net.Dial("tcp", ways[0])
		if err != nil {
			return false
		}
		defer s.Close()
		_ = s.SetDeadline(time.Now().Add(time.Second))
		_, err = io.ReadFull(s, make([]byte, len("one")))
		return err == nil
	})
}

// TestRelayGoes has a relay end, and the outlets say so.
func TestRelayGoes(t *testing.T) {
	l, c, _ := relayed(t)
	l.ready(t, OutletKind, "web")
	c.Relays = nil
	l.apply(t, c)
	testkit.Eventually(t, "the outlet has lost its relay", func() bool {
		s := l.status(t, OutletKind, "web")
		return !s.Ready && s.Err != nil
	})
}

// TestRelayAlone has relays alone have a key of their own, and no more when somebody joins them.
func TestRelayAlone(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("SP_IDENTITY", "")
	l := newLab(t)
	l.node.Identity = ""
	l.node.Trust.AllowAnyone = true
	c := config.Config{
		Relays: []config.Relay{{Entrance: config.Entrance{Listen: loopback}}},
	}
	l.start(t, c)
	own := l.Identifier()
	l.apply(t, c)
	if l.Identifier() != own {
		t.Error("the same relay is somebody else")
	}
	with := c
	with.Outlets = []config.Outlet{{
		Entrance: config.Entrance{Listen: loopback}, Target: serviceThatSays(t, "one"),
	}}
	l.apply(t, with)
	user := l.Identifier()
	l.apply(t, c)
	if user == own || l.Identifier() != own {
		t.Errorf("the relay is %s, with an outlet %s, and then %s", own, user, l.Identifier())
	}
	for want, where := range map[identity.Identifier]func() (string, error){
		own: identity.RelayPath, user: identity.DefaultPath,
	} {
		path, err := where()
		if err != nil {
			t.Fatal(err)
		}
		if id, err := identity.Load(path); err != nil || id.Identifier() != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestStdio carries one connection that somebody else makes, and tells how it ended.
func TestStdio(t *testing.T) {
	p := newPair(t)
	near, far := net.Pipe()
	ended := make(chan error, 1)
	d, err := Start(testkit.Context(t), config.Config{
		Node:   p.far.node,
		Inlets: []config.Inlet{{Listen: config.Stdio, To: p.inletsTo(t, p.lab)[0].To}},
	}, Options{
		Logger: slog.New(slog.DiscardHandler),
		Stdio:  func() net.Conn { return far },
		Notify: func(e Event) {
			if e.Kind == Ended {
				ended <- e.Err
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	testkit.Hurry(t, near)
	testkit.Expect(t, near, "one")
	talk(t, near, "by stdin and stdout")
	_ = near.Close()
	testkit.Within(t, ended, "the connection")
}

// TestStartIsBounded ends a start that waits, with ctx.
func TestStartIsBounded(t *testing.T) {
	l := newLab(t)
	silent := testkit.Listen(t) // takes connections, and says nothing
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := Start(ctx, config.Config{
		Node: l.node,
		Inlets: []config.Inlet{
			{Listen: loopback, To: []string{silent.Addr().String()}, NoWait: true},
		},
	}, Options{Logger: slog.New(slog.DiscardHandler)})
	if err == nil || time.Since(began) > testkit.Patience/2 {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}

package portal

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

func listenPortal(t testing.TB, o Options) *Listener {
	t.Helper()
	o.Logger = quiet()
	l, err := Listen(testkit.Context(t), "127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// accepted returns what Accept returns, in a goroutine.
func accepted(l *Listener) <-chan net.Conn {
	c := make(chan net.Conn, 1)
	go func() {
		conn, _ := l.Accept()
		c <- conn
	}()
	return c
}

func TestListenerClose(t *testing.T) {
	o := Options{Identity: testkit.NewIdentity(t), Logger: quiet()}
	l := listenPortal(t, o)
	got := accepted(l)
	c, err := Dial(testkit.Context(t), l.Route(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := testkit.Within(t, got, "Accept")
	pending := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		pending <- err
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := testkit.Within(t, pending, "Accept"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept during Close: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	for _, c := range []net.Conn{c, s} {
		_ = c.SetDeadline(time.Now().Add(testkit.Patience))
		if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("an accepted connection that Close has cut is read as %v", err)
		}
	}
	if err := l.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// A connection that nobody accepts does not keep a listener from closing.
func TestListenerClosesWithAConnectionNobodyAccepts(t *testing.T) {
	o := Options{Identity: testkit.NewIdentity(t), Logger: quiet()}
	l := listenPortal(t, o)
	c, err := Dial(testkit.Context(t), l.Route(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestListenErrors(t *testing.T) {
	o := Options{Identity: testkit.NewIdentity(t), Logger: quiet()}
	l := listenPortal(t, o)
	if _, err := Listen(testkit.Context(t), l.Addr().String(), o); err == nil {
		t.Error("two listeners at one address")
	}
}

// relayAndBridge is what listeners and dialers can meet by, each of an identity that neither needs
// to trust with anything but its name:
//
//	dialer ──┬─────────────► relay ◄── listener
//	         └──► bridge ──► relay ◄── bridge ◄── listener
type relayAndBridge struct {
	relayIdentity identity.Identifier
	relay, bridge wire.Address
}

func newRelayAndBridge(t *testing.T, trusts *identity.Identity) relayAndBridge {
	t.Helper()
	self := testkit.NewIdentity(t)
	policy, err := trust.NewPolicy(trust.Config{
		Allow: []identity.Identifier{trusts.Identifier()},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := relayAndBridge{relayIdentity: self.Identifier()}
	node := listening(t, route.Config{
		Channel: channel.Config{Identity: self, Trust: policy}, Logger: quiet(),
	}, &r.relay)
	relay.NewServer(node, relay.ServerConfig{})
	stranger := testkit.NewIdentity(t)
	listening(t, route.Config{
		Channel: channel.Config{Identity: stranger, Trust: testkit.Trusting(t, stranger)},
		Forward: func(a wire.Address) bool { return a == r.relay }, OpenForward: true, Logger: quiet(),
	}, &r.bridge)
	return r
}

// listening returns a node that listens on loopback, where at says.
func listening(t *testing.T, config route.Config, at *wire.Address) *route.Node {
	t.Helper()
	n, err := route.NewNode(config)
	if err != nil {
		t.Fatal(err)
	}
	l := testkit.Listen(t)
	*at = transport.FromAddrPort(netip.MustParseAddrPort(l.Addr().String()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Serve(context.Background(), l)
	}()
	t.Cleanup(func() {
		_ = n.Close()
		testkit.Within(t, done, "Serve")
	})
	return n
}

// expectConversation dials l by to, and has both ends hear each other to the end.
func expectConversation(t *testing.T, l *Listener, to string, o Options) {
	t.Helper()
	got := accepted(l)
	c, err := Dial(testkit.Context(t), to, o)
	if err != nil {
		t.Fatalf("%s: %v", to, err)
	}
	defer c.Close()
	s := testkit.Within(t, got, "Accept")
	defer s.Close()
	for _, c := range []net.Conn{c, s} {
		_ = c.SetDeadline(time.Now().Add(testkit.Patience))
	}
	testkit.Write(t, c, "question")
	closeWrite(t, c.(interface{ CloseWrite() error }))
	if got, err := io.ReadAll(s); string(got) != "question" || err != nil {
		t.Errorf("%s: got %q, %v", to, got, err)
	}
	testkit.Write(t, s, "answer")
	closeWrite(t, s.(interface{ CloseWrite() error }))
	if got, err := io.ReadAll(c); string(got) != "answer" || err != nil {
		t.Errorf("%s: got %q, %v", to, got, err)
	}
}

func TestListenAsAName(t *testing.T) {
	id := testkit.NewIdentity(t)
	r := newRelayAndBridge(t, id)
	named := Options{
		Identity: id, RelayIdentities: []identity.Identifier{r.relayIdentity}, Logger: quiet(),
	}
	whoever := Options{Identity: id, Logger: quiet()}
	short := "db@" + transport.Format(r.relay)
	direct := transport.FormatStep(r.relay) + "/service/forward_to_db"
	bridged := transport.FormatStep(r.bridge) + direct
	for address, o := range map[string]Options{
		short: named, direct: whoever, bridged: named,
		bridged + "/secure/api/service/outlet": whoever,
	} {
		l, err := Listen(testkit.Context(t), address, o)
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if a := l.Addr(); a.Network() != "sp" || !strings.HasPrefix(l.Route(), a.String()) {
			t.Errorf("%s: it is %s %s, by %s", address, a.Network(), a, l.Route())
		}
		dialers := Options{Identity: id, Logger: quiet()} // no need to know the relay
		for _, to := range []string{l.Route(), short, bridged + "/secure/api/service/outlet"} {
			expectConversation(t, l, to, dialers)
		}
		if err := l.Close(); err != nil {
			t.Errorf("%s: Close: %v", address, err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Accept after Close: %v", address, err)
		}
		testkit.Eventually(t, "the name is nobody's", func() bool {
			_, err := Dial(testkit.Context(t), short, dialers)
			var status *route.StatusError
			return errors.As(err, &status) && status.Code == wire.NoService
		})
	}
}

func TestListenAtAUnixSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no Unix sockets to rely on")
	}
	o := Options{Identity: testkit.NewIdentity(t), Logger: quiet()}
	l, err := Listen(testkit.Context(t), "unix:"+filepath.Join(t.TempDir(), "s"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	expectConversation(t, l, l.Route(), o)
	expectConversation(t, l, "unix:"+l.Addr().String(), o)
}

func TestListenAsANameErrors(t *testing.T) {
	id := testkit.NewIdentity(t)
	r := newRelayAndBridge(t, id)
	at := transport.Format(r.relay)
	gone := testkit.Address(t)
	relays := []identity.Identifier{r.relayIdentity}
	status := func(code wire.Code) func(error) bool {
		return func(err error) bool {
			var s *route.StatusError
			return errors.As(err, &s) && s.Code == code
		}
	}
	is := func(want error) func(error) bool {
		return func(err error) bool { return errors.Is(err, want) }
	}
	for what, test := range map[string]struct {
		address string
		relays  []identity.Identifier
		is      func(error) bool
	}{
		"no name":  {"/ip4/127.0.0.1/tcp/1/secure/api/service/outlet", relays, is(ErrNoName)},
		"no relay": {"/service/forward_to_db", relays, is(route.ErrNotDialable)},
		"syntax":   {"a/b@" + at, relays, is(route.ErrSyntax)},
		"another relay": {
			"db@" + at, []identity.Identifier{id.Identifier()}, is(trust.ErrNotTrusted),
		},
		"nobody there": {"db@" + gone, relays, func(err error) bool {
			return errors.As(err, new(*route.DialError))
		}},
		"a bridge": {"db@" + transport.Format(r.bridge), relays, is(trust.ErrNotTrusted)},
		"not by that bridge": {
			transport.FormatStep(r.bridge) + "/ip4/127.0.0.1/tcp/1/service/forward_to_db", relays,
			status(wire.NotAllowed),
		},
	} {
		o := Options{Identity: id, RelayIdentities: test.relays, Logger: quiet()}
		l, err := Listen(testkit.Context(t), test.address, o)
		if err == nil || !test.is(err) || l != nil {
			t.Errorf("%s: got %v, %v", what, l, err)
		}
	}
}

// Listen that waits for a relay ends with its context.
func TestListenEndsWithItsContext(t *testing.T) {
	silent := testkit.Listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		o := Options{Identity: testkit.NewIdentity(t), Logger: quiet()}
		_, err := Listen(ctx, "db@"+silent.Addr().String(), o)
		failed <- err
	}()
	c, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if err := testkit.Within(t, failed, "Listen"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

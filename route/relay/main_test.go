package relay

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

func TestMain(m *testing.M) {
	standbyWait, holderTimeout = 3*time.Second, 3*time.Second
	goleak.VerifyTestMain(m)
}

func svc(name string) wire.Address { return wire.Address{Kind: wire.Service, Name: name} }

func secure() wire.Address { return wire.Address{Kind: wire.Secure, Name: route.SecureName} }

// world is some nodes that trust one another, and nobody else.
type world struct{ id *identity.Identity }

func newWorld(t testing.TB) world { return world{testkit.NewIdentity(t)} }

// config is a node's, and its log goes nowhere.
func (w world) config(t testing.TB) route.Config {
	t.Helper()
	trust := testkit.Trusting(t, w.id)
	return route.Config{
		Channel: channel.Config{Identity: w.id, Trust: trust, HandshakeTimeout: testkit.Patience},
		Logger:  slog.New(slog.DiscardHandler),
	}
}

// node returns a node that nobody can reach.
func (w world) node(t testing.TB, change ...func(*route.Config)) *route.Node {
	t.Helper()
	config := w.config(t)
	for _, f := range change {
		f(&config)
	}
	n, err := route.NewNode(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// listening returns a node that listens on loopback, and its address.
func (w world) listening(t testing.TB, change ...func(*route.Config)) (*route.Node, wire.Address) {
	t.Helper()
	n := w.node(t, change...)
	return n, listen(t, n)
}

func listen(t testing.TB, n *route.Node) wire.Address {
	t.Helper()
	l := testkit.Listen(t)
	serve(t, n, l)
	return addressOf(l)
}

func serve(t testing.TB, n *route.Node, l net.Listener) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Serve(context.Background(), l)
	}()
	t.Cleanup(func() {
		_ = n.Close()
		testkit.Within(t, done, "Serve")
	})
}

func addressOf(l net.Listener) wire.Address {
	return transport.FromAddrPort(netip.MustParseAddrPort(l.Addr().String()))
}

// nowhere returns an address where nobody listens.
func nowhere(t testing.TB) wire.Address {
	t.Helper()
	return transport.FromAddrPort(netip.MustParseAddrPort(testkit.Address(t)))
}

// ask sends text over r, ends its direction, and returns all that comes back.
func ask(t testing.TB, n *route.Node, r route.Route, text string) (string, error) {
	t.Helper()
	s, err := n.Open(testkit.Context(t), r, 0)
	if err != nil {
		return "", err
	}
	defer s.Close()
	_ = s.SetDeadline(time.Now().Add(testkit.Patience))
	if _, err := io.WriteString(s, text); err != nil {
		return "", err
	}
	if err := s.CloseWrite(); err != nil {
		return "", err
	}
	b, err := io.ReadAll(s)
	return string(b), err
}

// Try claims the name and gives it up again: it tells whether that can be done.
func (c *Client) Try(ctx context.Context) error {
	r, err := c.claim(ctx)
	if err != nil {
		return err
	}
	return r.stream.Close()
}

// expectStatus makes sure that err is a hop's answer.
func expectStatus(t testing.TB, err error, code wire.Code, hop int, where string) {
	t.Helper()
	var status *route.StatusError
	if !errors.As(err, &status) {
		t.Fatalf("got %v, want a status", err)
	}
	if status.Code != code || status.Hop != hop || status.Where != where {
		t.Errorf("got %s of hop %d (%s), want %s of hop %d (%s)",
			status.Code, status.Hop, status.Where, code, hop, where)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

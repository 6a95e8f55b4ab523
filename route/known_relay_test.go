package route_test

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// A relay knows the source of an outlet that is registered, and of nobody who repeats what its
// standby links say.
func TestOutletIsKnown(t *testing.T) {
	t.Parallel()
	id := testkit.NewIdentity(t)
	node := func() *route.Node {
		t.Helper()
		n, err := route.NewNode(route.Config{
			Channel: channel.Config{Identity: id, Trust: testkit.Trusting(t, id)},
			Logger:  slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		return n
	}
	server, outlet := node(), node()
	outlet.HandleBasics()
	relay.NewServer(server, relay.ServerConfig{})
	l := testkit.Listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { server.Serve(ctx, l) })
	at := transport.FromAddrPort(netip.MustParseAddrPort(l.Addr().String()))
	registered := make(chan struct{})
	c := &relay.Client{
		Relay: route.Route{at}, Name: "x", Dial: outlet, Serve: outlet,
		Registered: sync.OnceFunc(func() { close(registered) }),
	}
	running.Go(func() { c.Run(ctx) })
	testkit.Within(t, registered, "the registration")
	use(t, node(), route.Route{
		at, route.Forward("x"),
		{Kind: wire.Secure, Name: route.SecureName},
		{Kind: wire.Service, Name: route.EchoName},
	})
	const standby = 4 // links that wait; the session and the claim have one each
	testkit.Eventually(t, "standby links wait", func() bool {
		links, _ := route.LinkCounts(server)
		return links == 2+standby
	})
	if _, known := route.LinkCounts(server); known == 0 || known > 2 {
		t.Errorf("%d links prove where they come from, want those of the session and of the claim",
			known)
	}
}

// use has n use what is at the end of a route, and end.
func use(t *testing.T, n *route.Node, to route.Route) {
	t.Helper()
	s, err := n.OpenAndAwait(testkit.Context(t), to, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	_ = n.Close()
}

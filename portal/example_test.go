package portal_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// Two machines with an identity each, which trust one another: one listens, the other one dials. In
// practice the identities come from key files, and the Identifiers and the route are told by other
// means.
func Example() {
	here, there := newOptions(), newOptions()
	here.Trust = trusting(here, there)
	there.Trust = trusting(there, here)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	l, err := portal.Listen(ctx, "127.0.0.1:0", there)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go answer(l)

	c, err := portal.Dial(ctx, l.Route(), here)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(ask(c, "hello"))
	// Output: you said "hello" <nil>
}

// A listener that is a name on a relay: it needs no port that anybody can reach. Neither side needs
// to know who the relay is, for it sees ciphertext only.
func ExampleListen_name() {
	here, there := newOptions(), newOptions()
	here.Trust = trusting(here, there)
	there.Trust = trusting(there, here)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	relayOptions := newOptions()
	relayOptions.Trust = trusting(relayOptions, there)
	at, stop := serveRelay(relayOptions) // sp relay --listen :4000 --allow …
	defer stop()

	l, err := portal.Listen(ctx, "db@"+at, there)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go answer(l)

	c, err := portal.Dial(ctx, "db@"+at, here)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(ask(c, "hello"))
	// Output: you said "hello" <nil>
}

// A listener that is reached through a bridge. A route says each step: the bridge, the listener
// behind it, and the secure channel, which begins here and ends at the listener.
func ExampleDial_bridge() {
	here, there := newOptions(), newOptions()
	here.Trust = trusting(here, there)
	there.Trust = trusting(there, here)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	l, err := portal.Listen(ctx, "127.0.0.1:0", there)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go answer(l)

	bridge, stop := serveBridge(newOptions(), l.Addr()) // sp bridge --open --listen :7000 …
	defer stop()

	c, err := portal.Dial(ctx, transport.FormatStep(bridge)+l.Route(), here)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println(ask(c, "hello"))
	// Output: you said "hello" <nil>
}

// answer answers one connection.
func answer(l net.Listener) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	question, _ := io.ReadAll(c)
	fmt.Fprintf(c, "you said %q", question)
}

// ask says text, ends its direction, and returns what comes back.
func ask(c net.Conn, text string) (string, error) {
	fmt.Fprint(c, text)
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	answer, err := io.ReadAll(c)
	return string(answer), err
}

func newOptions() portal.Options {
	id, err := identity.New(rand.Reader, time.Now())
	if err != nil {
		log.Fatal(err)
	}
	return portal.Options{Identity: id, Logger: slog.New(slog.DiscardHandler)}
}

// trusting is who trusts whom, and nobody else.
func trusting(who, whom portal.Options) *trust.Policy {
	p, err := trust.NewPolicy(trust.Config{
		Self:  who.Identity.Identifier(),
		Allow: []identity.Identifier{whom.Identity.Identifier()},
	})
	if err != nil {
		log.Fatal(err)
	}
	return p
}

// serveRelay runs a relay on loopback until stop is called, and returns where.
func serveRelay(o portal.Options) (hostPort string, stop func()) {
	n, at, stop := serveNode(route.Config{
		Channel: channel.Config{Identity: o.Identity, Trust: o.Trust}, Logger: o.Logger,
	})
	relay.NewServer(n, relay.ServerConfig{})
	return transport.Format(at), stop
}

// serveBridge runs a bridge on loopback that leads to one address, until stop is called.
func serveBridge(o portal.Options, to net.Addr) (at wire.Address, stop func()) {
	allowed := transport.FromAddrPort(netip.MustParseAddrPort(to.String()))
	_, at, stop = serveNode(route.Config{
		Channel: channel.Config{Identity: o.Identity, Trust: trusting(o, o)}, Logger: o.Logger,
		Forward: func(a wire.Address) bool { return a == allowed }, OpenForward: true,
	})
	return at, stop
}

func serveNode(c route.Config) (n *route.Node, at wire.Address, stop func()) {
	n, err := route.NewNode(c)
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		n.Serve(context.Background(), l)
	}()
	return n, transport.FromAddrPort(netip.MustParseAddrPort(l.Addr().String())), func() {
		_ = n.Close()
		<-served
	}
}

package portal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/homes"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// Listener accepts connections that reach this side over a route. It is a net.Listener, and safe
// for concurrent use.
type Listener struct {
	node *route.Node
	self identity.Identifier
	addr net.Addr
	to   route.Route // what a dialer walks

	accepted chan *conn
	done     chan struct{}
	close    func() error
}

// Listen makes this side reachable at an address, which is one of
//
//	host:port           where links come in: no host is every interface, port 0 is a free one
//	unix:PATH           the same, at a Unix socket
//	NAME@host:port      a name on the relay there
//	NAME@unix:PATH
//	/dnsaddr/…/service/forward_to_NAME
//	                    a name on a relay that a route leads to, such as through bridges
//
// Whatever Dial takes for a name, Listen takes: the /secure/api/service/outlet at a route's end may
// be there or not. With a name nothing listens on this machine. This side dials the relay, and
// keeps the name until Close, claiming it anew whenever it is lost. Options may say who the relay
// has to be.
//
// Listen returns when the address can be dialed, or why it cannot be. ctx bounds that, and nothing
// afterwards.
func Listen(ctx context.Context, address string, o Options) (*Listener, error) {
	id, err := o.self()
	if err != nil {
		return nil, err
	}
	n, err := o.newNode(id)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		node: n, self: id.Identifier(),
		accepted: make(chan *conn), done: make(chan struct{}),
	}
	n.Handle(route.OutletName, l.handle)
	var stop func()
	if isName(address) {
		stop, err = l.claim(ctx, address, o, id)
	} else {
		stop, err = l.listen(ctx, address)
	}
	if err != nil {
		_ = n.Close()
		return nil, err
	}
	l.close = sync.OnceValue(func() error {
		close(l.done)
		err := n.Close()
		stop()
		return err
	})
	return l, nil
}

// isName tells a name on a relay from an address to listen at.
func isName(address string) bool {
	return strings.HasPrefix(address, "/") ||
		strings.Contains(address, "@") && !strings.HasPrefix(address, unixPrefix)
}

const unixPrefix = "unix:"

// listen accepts links at an address, until stop is called after the node has been closed.
func (l *Listener) listen(ctx context.Context, address string) (stop func(), err error) {
	at, err := transport.ParseListen(address, "")
	if err != nil {
		return nil, err
	}
	links, err := l.node.Listen(ctx, at)
	if err != nil {
		return nil, err
	}
	l.node.Claim("") // until the node is closed
	l.addr = links.Addr()
	l.to = route.ToOutlet(linkAddress(l.addr))
	var serving sync.WaitGroup
	serving.Go(func() { l.node.Serve(context.Background(), links) })
	return serving.Wait, nil
}

// linkAddress returns the address to dial for a listener's.
func linkAddress(addr net.Addr) transport.Address {
	a, _ := transport.FromAddr(addr)
	return a
}

// ErrNoName says that an address to listen at leads to no name on a relay.
var ErrNoName = errors.New("the route does not end with a name on a relay")

// parseName reads a name on a relay, with or without what a dialer adds.
func parseName(text string) (to route.Route, name string, err error) {
	r, err := route.Parse(text)
	if err != nil {
		return nil, "", err
	}
	added := route.ToOutlet()
	if n := len(r) - len(added); n > 0 && r[n] == added[0] && r[n+1] == added[1] {
		r = r[:n]
	}
	last := len(r) - 1
	name, ok := strings.CutPrefix(r[last].Name, route.ForwardPrefix)
	if !ok || r[last].Kind != wire.Service {
		return nil, "", fmt.Errorf("%w: %s", ErrNoName, route.Format(r))
	}
	return r[:last], name, nil
}

// claim claims a name on a relay, or where it is at home in that one's set, and keeps it until stop
// is called, which waits for that.
func (l *Listener) claim(
	ctx context.Context, address string, o Options, id *identity.Identity,
) (stop func(), err error) {
	to, name, err := parseName(address)
	if err != nil {
		return nil, err
	}
	dialer, err := o.newRelayDialer(id)
	if err != nil {
		return nil, err
	}
	instance, err := relay.NewInstance()
	if err != nil {
		return nil, err
	}
	release, err := register(ctx, &homes.Outlet{
		Relay: to, Name: name, Dial: dialer, Serve: l.node,
		New: func(to route.Route) *relay.Client {
			return &relay.Client{
				Relay: to, Name: name, Dial: dialer, Serve: l.node, Instance: instance,
			}
		},
	})
	if err != nil {
		_ = dialer.Close()
		return nil, err
	}
	l.to = route.ThroughRelay(to, name)
	l.addr = nameAddr(route.Format(append(to[:len(to):len(to)], route.Forward(name))))
	return func() {
		release()
		_ = dialer.Close()
	}, nil
}

// register returns when c has its name, which it keeps until release is called, or why it has not
// got it.
func register(ctx context.Context, c *homes.Outlet) (release func(), err error) {
	if err := c.New(c.Relay).Check(); err != nil {
		return nil, err
	}
	first := make(chan error, 1)
	tell := func(err error) {
		select {
		case first <- err:
		default: // it is not the first
		}
	}
	c.Registered, c.Failed = func() { tell(nil) }, tell
	running, cancel := context.WithCancel(context.Background())
	var keeping sync.WaitGroup
	keeping.Go(func() { c.Run(running) })
	release = func() {
		cancel()
		keeping.Wait()
	}
	select {
	case err = <-first:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// nameAddr is the address of a name on a relay, as Listen reads it.
type nameAddr string

func (a nameAddr) Network() string { return "sp" }
func (a nameAddr) String() string  { return string(a) }

// handle gives a stream to Accept and waits until it is closed.
func (l *Listener) handle(ctx context.Context, q *route.Request) error {
	s := q.Accept()
	if err := s.Flush(); err != nil {
		return err
	}
	ended := make(chan struct{})
	c := &conn{Stream: s, closed: func() { close(ended) }}
	select {
	case l.accepted <- c:
	case <-l.done:
		return net.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// Accept returns the next connection, which has CloseWrite. The peer behind it is authenticated and
// trusted. After Close the error is net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close stops listening, gives a name on a relay up, and ends the accepted connections. It returns
// when that is done.
func (l *Listener) Close() error { return l.close() }

// Addr returns where links come in, or the name on the relay, whose network is "sp".
func (l *Listener) Addr() net.Addr { return l.addr }

// Identifier returns who a dialer has to trust.
func (l *Listener) Identifier() identity.Identifier { return l.self }

// Route returns what Dial takes to come here, from where the address or the relay can be reached as
// it is from here.
func (l *Listener) Route() string { return route.Format(l.to) }

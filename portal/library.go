package portal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// Options say who this side is and whom it trusts. The zero value is the user's own identity, trusting itself: one
// person, two machines, one key file.
type Options struct {
	Identity *identity.Identity // nil means the key file at identity.DefaultPath, made if it is not there
	Trust    *trust.Policy      // nil means only Identity itself; its files are read again only with its Poll
	Logger   *slog.Logger       // nil means slog.Default
}

func (o Options) node() (*route.Node, *identity.Identity, error) {
	id := o.Identity
	if id == nil {
		path, err := identity.DefaultPath()
		if err != nil {
			return nil, nil, err
		}
		if id, _, err = identity.LoadOrCreate(path); err != nil {
			return nil, nil, err
		}
	}
	policy := o.Trust
	if policy == nil {
		var err error
		if policy, err = trust.NewPolicy(trust.Config{Self: id.Identifier()}); err != nil {
			return nil, nil, err
		}
	}
	n, err := route.NewNode(route.Config{Channel: channel.Config{Identity: id, Trust: policy}, Logger: o.Logger})
	return n, id, err
}

// Dial opens a connection to the outlet that a route leads to, and waits for its answer. to is a route in any of the
// forms that route.Parse reads. The connection has CloseWrite. A Dialer is better for more than one connection.
func Dial(ctx context.Context, to string, o Options) (net.Conn, error) {
	d, err := NewDialer(o)
	if err != nil {
		return nil, err
	}
	c, err := d.Dial(ctx, to)
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return &conn{Stream: c.(*route.Stream), closed: func() { _ = d.Close() }}, nil
}

// Dialer opens connections over routes. Those to the same node share a session. It is safe for concurrent use.
type Dialer struct{ node *route.Node }

// NewDialer returns a dialer. Close ends it and its connections.
func NewDialer(o Options) (*Dialer, error) {
	n, _, err := o.node()
	if err != nil {
		return nil, err
	}
	return &Dialer{n}, nil
}

// Dial opens a connection to the outlet that a route leads to, and waits for its answer.
func (d *Dialer) Dial(ctx context.Context, to string) (net.Conn, error) {
	r, err := ParseRoute(to)
	if err != nil {
		return nil, err
	}
	s, err := d.node.OpenAndAwait(ctx, r, 0, nil)
	if err != nil {
		return nil, err // and no *route.Stream that is nil
	}
	return s, nil
}

// Close ends the dialer, its sessions and its connections.
func (d *Dialer) Close() error { return d.node.Close() }

// ErrNoChannel says that a portal's route has no secure channel that reaches the outlet.
var ErrNoChannel = errors.New("the route has no /secure/api step before its last service")

// ParseRoute reads a route and makes sure that it ends with a service inside a secure channel.
func ParseRoute(text string) (route.Route, error) {
	r, err := route.Parse(text)
	if err != nil {
		return nil, err
	}
	return r, CheckRoute(r)
}

// CheckRoute tells whether r begins with an address to dial and ends with a service inside a secure channel.
func CheckRoute(r route.Route) error {
	last := len(r) - 1
	switch {
	case last < 0 || !r[0].IsTransport():
		return fmt.Errorf("%w: %s", route.ErrNotDialable, route.Format(r))
	case last < 2 || r[last].Kind != wire.Service || r[last-1].Kind != wire.Secure:
		return fmt.Errorf("%w: %s", ErrNoChannel, route.Format(r))
	}
	return nil
}

// Listener accepts streams that reach this node's outlet service. It is a net.Listener.
type Listener struct {
	node     *route.Node
	listener net.Listener
	id       identity.Identifier
	accepted chan *conn
	done     chan struct{}
	close    func() error
}

// Listen listens for links at a TCP address, host:port, and offers an outlet whose connections Accept returns. Close
// ends them all.
func Listen(address string, o Options) (*Listener, error) {
	n, id, err := o.node()
	if err != nil {
		return nil, err
	}
	l, err := netio.ListenConfig().Listen(context.Background(), "tcp", address)
	if err != nil {
		_ = n.Close()
		return nil, err
	}
	p := &Listener{node: n, listener: l, id: id.Identifier(), accepted: make(chan *conn), done: make(chan struct{})}
	n.Handle(route.OutletName, p.handle)
	var tasks sync.WaitGroup
	tasks.Go(func() { n.Serve(context.Background(), l) })
	p.close = sync.OnceValue(func() error {
		close(p.done)
		err := n.Close()
		tasks.Wait()
		return err
	})
	return p, nil
}

// handle gives a stream to Accept and waits until it is closed.
func (p *Listener) handle(ctx context.Context, q *route.Request) error {
	s := q.Accept()
	if err := s.Flush(); err != nil {
		return err
	}
	ended := make(chan struct{})
	c := &conn{Stream: s, closed: func() { close(ended) }}
	select {
	case p.accepted <- c:
	case <-p.done:
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

// Accept returns the next connection. The peer behind it is authenticated and trusted.
func (p *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close stops listening and ends the accepted connections.
func (p *Listener) Close() error { return p.close() }

// Addr returns the TCP address of the links.
func (p *Listener) Addr() net.Addr { return p.listener.Addr() }

// Identifier returns who a dialer must trust.
func (p *Listener) Identifier() identity.Identifier { return p.id }

// Route returns the route that leads here from where the TCP address can be reached.
func (p *Listener) Route() string {
	ap, err := netip.ParseAddrPort(p.Addr().String())
	if err != nil {
		return p.Addr().String()
	}
	return route.Format(route.ToOutlet(transport.FromAddrPort(ap)))
}

// conn is a stream whose Close is somebody's business.
type conn struct {
	*route.Stream
	once   sync.Once
	closed func()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := c.Stream.Close()
	c.once.Do(c.closed)
	return err
}

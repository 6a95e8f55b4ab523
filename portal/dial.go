package portal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// Dial opens a connection to the outlet, or the Listener, that a route leads to, and waits for its
// answer. to is what route.Parse reads:
//
//	host:port                     a node that listens there
//	unix:PATH                     the same, at a Unix socket
//	NAME@host:port                who has claimed NAME on the relay there
//	/dnsaddr/…/service/outlet     any other way, such as through bridges
//
// The connection has CloseWrite. It has a session of its own: a Dialer is better for more than one.
func Dial(ctx context.Context, to string, o Options) (net.Conn, error) {
	d, err := NewDialer(o)
	if err != nil {
		return nil, err
	}
	s, err := d.open(ctx, to)
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return &conn{Stream: s, closed: func() { _ = d.Close() }}, nil
}

// Dialer opens connections over routes. Those to the same node share a session. It is safe for
// concurrent use.
type Dialer struct{ node *route.Node }

// NewDialer returns a dialer. Close ends it and its connections.
func NewDialer(o Options) (*Dialer, error) {
	id, err := o.self()
	if err != nil {
		return nil, err
	}
	n, err := o.newNode(id)
	if err != nil {
		return nil, err
	}
	return &Dialer{n}, nil
}

// Dial opens a connection as the function Dial does.
func (d *Dialer) Dial(ctx context.Context, to string) (net.Conn, error) {
	s, err := d.open(ctx, to)
	if err != nil {
		return nil, err // and no *route.Stream that is nil
	}
	return s, nil
}

func (d *Dialer) open(ctx context.Context, to string) (*route.Stream, error) {
	r, err := parseRoute(to)
	if err != nil {
		return nil, err
	}
	return d.node.OpenAndAwait(ctx, r, 0, nil)
}

// Close ends the dialer, its sessions and its connections.
func (d *Dialer) Close() error { return d.node.Close() }

// ErrNoChannel says that a portal's route has no secure channel that reaches the outlet.
var ErrNoChannel = errors.New("the route has no /secure/api step before its last service")

// parseRoute reads a route and makes sure that it ends with a service inside a secure channel.
func parseRoute(text string) (route.Route, error) {
	r, err := route.Parse(text)
	if err != nil {
		return nil, err
	}
	return r, CheckRoute(r)
}

// CheckRoute tells whether r begins with an address to dial and ends with a service inside a secure
// channel.
func CheckRoute(r route.Route) error {
	last := len(r) - 1
	switch {
	case last < 0 || !r[0].IsTransport():
		return fmt.Errorf("%w: %s", route.ErrNotDialable, route.Format(r))
	case last < 2 || r[last].Kind != wire.Service || !isChannel(r[last-1]):
		return fmt.Errorf("%w: %s", ErrNoChannel, route.Format(r))
	}
	return nil
}

// isChannel tells whether a step ends what opens a channel.
func isChannel(a wire.Address) bool { return a.Kind == wire.Secure || a.Kind == wire.Is }

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

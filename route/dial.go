package route

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// ErrNotDialable says that a route does not begin with a transport address.
var ErrNotDialable = errors.New("the route does not begin with an address to dial")

// Open opens r: it makes or reuses the sessions that r's secure steps ask for, and returns a stream
// to what r ends with. Nothing waits for the far end to answer, unless a session has to be made
// first: reading from the stream, or its Await, says whether the route could be opened. ctx bounds
// what Open itself does.
func (n *Node) Open(ctx context.Context, r Route, flags wire.Flags) (*Stream, error) {
	return n.OpenWith(ctx, r, flags, nil)
}

// OpenWith is Open with a few bytes for the service in the opening message.
func (n *Node) OpenWith(
	ctx context.Context, r Route, flags wire.Flags, payload []byte,
) (*Stream, error) {
	if err := CheckDialable(r); err != nil {
		return nil, err
	}
	segs := segments(r)
	m := wire.Message{Flags: flags, Payload: payload}
	return n.open(ctx, r, segs, len(segs)-1, m, nil)
}

// OpenAndAwait is OpenWith, and returns when the far end has answered that the route is open. ctx
// bounds that too.
func (n *Node) OpenAndAwait(
	ctx context.Context, r Route, flags wire.Flags, payload []byte,
) (*Stream, error) {
	s, err := n.OpenWith(ctx, r, flags, payload)
	if err != nil {
		return nil, err
	}
	return awaited(ctx, s)
}

func awaited(ctx context.Context, s *Stream) (*Stream, error) {
	if err := s.Await(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// OpenBeside is OpenAndAwait of a route that has a link of its own and begins as the one to a
// session does: it goes where the session is, whatever the name stands for by now.
func (n *Node) OpenBeside(
	ctx context.Context, session *channel.Session, r Route, payload []byte,
) (*Stream, error) {
	if err := CheckDialable(r); err != nil {
		return nil, err
	}
	var to whereabouts
	if at, ok := transport.FromAddr(session.Link().RemoteAddr()); ok {
		to.at.Store(&at)
	}
	segs := segments(r)
	s, err := n.open(ctx, r, segs, len(segs)-1, wire.Message{Payload: payload}, &to)
	if err != nil {
		return nil, err
	}
	return awaited(ctx, s)
}

// CheckDialable is Check for a route that is to be dialed: ErrNotDialable says that it does not
// begin with a transport address.
func CheckDialable(r Route) error {
	if err := Check(r); err != nil {
		return err
	}
	if len(r) == 0 || !r[0].IsTransport() {
		return ErrNotDialable
	}
	return nil
}

// Probe asks whether r leads to a service, without opening it.
func (n *Node) Probe(ctx context.Context, r Route) error { return n.probe(ctx, r, nil) }

// ProbeLarge is Probe with an opening message that no single packet holds: somebody on the way may
// swallow large ones. The first node that has no use for what is in it ignores it.
func (n *Node) ProbeLarge(ctx context.Context, r Route) error {
	return n.probe(ctx, r, make([]byte, largeProbe))
}

// largeProbe is the payload of a message that is larger than what most packets hold, and has room
// for a long route.
const largeProbe = wire.MaxMessage * 3 / 4

func (n *Node) probe(ctx context.Context, r Route, payload []byte) error {
	s, err := n.OpenAndAwait(ctx, r, wire.Probe, payload)
	if err != nil {
		return err
	}
	defer s.Close()
	_ = s.SetDeadline(time.Now().Add(refuseTimeout))
	if err := s.CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, s)
	return err
}

// open opens segment k: on a new link if it is the first, and otherwise in a flow of the session
// before it. m is what the opening message says besides its routes. A link goes where to says, and
// where the route does if that is nil.
func (n *Node) open(
	ctx context.Context, r Route, segs []Route, k int, m wire.Message, to *whereabouts,
) (*Stream, error) {
	var (
		conn   netio.Conn
		onward = segs[k]
		begin  = 0
		err    error
	)
	if k == 0 {
		onward = onward[1:]
		conn, err = n.dialFollowing(ctx, r[0], to)
	} else {
		begin = length(segs[:k])
		conn, err = n.openFlow(ctx, r, segs, k)
		if f, ok := conn.(*channel.Flow); ok && err == nil && m.Flags&wire.Probe == 0 {
			n.directs.want(f.Session())
		}
	}
	if err != nil {
		return nil, err
	}
	m.Onward, m.Return = sent(onward), wire.Route{n.labels.origin()}
	out, err := wire.AppendMessage(nil, m)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	passing := k > 0 && slices.ContainsFunc(onward, moves)
	from := &answerer{route: r, begin: begin, inside: k > 0, passing: passing}
	return opened(conn, from, out), nil
}

func (n *Node) connectTimeout() time.Duration {
	if n.config.ConnectTimeout > 0 {
		return n.config.ConnectTimeout
	}
	return DefaultConnectTimeout
}

// DialLink makes a link to the node that listens at a, a transport address. The caller closes it.
func (n *Node) DialLink(ctx context.Context, a wire.Address) (Conn, error) {
	return n.dialTransport(ctx, a)
}

// ProxyTo returns the proxy by which links to a are made, as text without what is secret, or "".
func (n *Node) ProxyTo(a wire.Address) string {
	if n.config.Proxy == nil {
		return ""
	}
	if p := n.config.Proxy(a); p != nil {
		return p.String()
	}
	return ""
}

// dialTransport makes a link to the node that listens at a.
func (n *Node) dialTransport(ctx context.Context, a wire.Address) (netio.Conn, error) {
	link, err := n.transports.Dial(ctx, a)
	if err != nil {
		dialsFailed.Inc()
		return nil, &DialError{Where: transport.Format(a), Err: err}
	}
	linksDialed.Inc()
	return link, nil
}

// whereabouts is where a session is: the address that its control link has. A name says where new
// sessions go. Where it stands for something else by now, or several processes share it, or nobody
// can look it up, the links of a session still go where the session is. The zero value is a session
// whose control link is to be made. It is safe for concurrent use once that is there.
type whereabouts struct{ at atomic.Pointer[wire.Address] }

// dialFollowing is dialTransport to where to says, and takes note of where that is if it does not
// say yet.
func (n *Node) dialFollowing(
	ctx context.Context, a wire.Address, to *whereabouts,
) (netio.Conn, error) {
	if to == nil || !a.IsNamed() {
		return n.dialTransport(ctx, a)
	}
	if at := to.at.Load(); at != nil {
		link, err := n.dialTransport(ctx, *at)
		if failed := (*DialError)(nil); errors.As(err, &failed) {
			failed.Where = transport.Format(a) + " (" + failed.Where + ")"
			failed.moved = true
		}
		return link, err
	}
	link, err := n.dialTransport(ctx, a)
	if err != nil {
		return nil, err
	}
	if at, ok := transport.FromAddr(link.RemoteAddr()); ok {
		to.at.Store(&at)
	}
	return link, nil
}

// DialError says that a node could not be reached from this one.
type DialError struct {
	Where string
	Err   error

	moved bool // it is where a session was: its name may stand for somewhere else by now
}

func (e *DialError) Error() string {
	err := e.Err
	if operation := (*net.OpError)(nil); errors.As(err, &operation) {
		err = operation.Err
	}
	return fmt.Sprintf("cannot reach %s: %v", e.Where, err)
}

func (e *DialError) Unwrap() error { return e.Err }

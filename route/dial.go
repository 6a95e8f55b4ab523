package route

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/wire"
)

// ErrNotDialable says that a route does not begin with a transport address.
var ErrNotDialable = errors.New("the route does not begin with an address to dial")

// Open opens r: it makes or reuses the sessions that r's secure steps ask for, and returns a stream to what r ends
// with. Nothing waits for the far end to answer, unless a session has to be made first: reading from the stream, or
// its Await, says whether the route could be opened. ctx bounds what Open itself does.
func (n *Node) Open(ctx context.Context, r Route, flags wire.Flags) (*Stream, error) {
	return n.OpenWith(ctx, r, flags, nil)
}

// OpenWith is Open with a few bytes for the service in the opening message.
func (n *Node) OpenWith(ctx context.Context, r Route, flags wire.Flags, payload []byte) (*Stream, error) {
	if err := CheckDialable(r); err != nil {
		return nil, err
	}
	segs := segments(r)
	return n.open(ctx, r, segs, len(segs)-1, wire.Message{Flags: flags, Payload: payload})
}

// OpenAndAwait is OpenWith, and returns when the far end has answered that the route is open. ctx bounds that too.
func (n *Node) OpenAndAwait(ctx context.Context, r Route, flags wire.Flags, payload []byte) (*Stream, error) {
	s, err := n.OpenWith(ctx, r, flags, payload)
	if err != nil {
		return nil, err
	}
	if err := s.Await(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

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
func (n *Node) Probe(ctx context.Context, r Route) error {
	s, err := n.OpenAndAwait(ctx, r, wire.Probe, nil)
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

// Session returns the session with the node at r's last secure step, and makes it if it is not there.
func (n *Node) Session(ctx context.Context, r Route) (*channel.Session, error) {
	if err := CheckDialable(r); err != nil {
		return nil, err
	}
	segs := segments(r)
	if len(segs) < 2 {
		return nil, errors.New("the route has no /secure step")
	}
	return n.session(ctx, r, segs, len(segs)-2)
}

// open opens segment k: on a new link if it is the first, and otherwise in a flow of the session before it.
// m is what the opening message says besides its routes.
func (n *Node) open(ctx context.Context, r Route, segs []Route, k int, m wire.Message) (*Stream, error) {
	var (
		conn   netio.Conn
		onward = segs[k]
		begin  = 0
		err    error
	)
	if k == 0 {
		onward = onward[1:]
		conn, err = n.dialTransport(ctx, r[0])
	} else {
		begin = length(segs[:k])
		conn, err = n.openFlow(ctx, r, segs, k)
	}
	if err != nil {
		return nil, err
	}
	m.Onward, m.Return = onward, wire.Route{n.label}
	out, err := wire.AppendMessage(nil, m)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return opened(conn, r, begin, out), nil
}

func (n *Node) openFlow(ctx context.Context, r Route, segs []Route, k int) (netio.Conn, error) {
	session, err := n.session(ctx, r, segs, k-1)
	if err != nil {
		return nil, err
	}
	return session.Open(ctx)
}

// peering is the session with the node at the end of one beginning of a route, and the making of it.
type peering struct {
	mu      sync.Mutex
	session *channel.Session
	attempt *attempt
	gone    bool // forgotten: there may be another for the same
}

// attempt is the making of a session, for all who wait for it.
type attempt struct {
	done    chan struct{}
	session *channel.Session
	err     error
}

// session returns the session with the node that segments 0 to k lead to. Who comes while it is being made waits for
// the same one.
func (n *Node) session(ctx context.Context, r Route, segs []Route, k int) (*channel.Session, error) {
	p := n.lockPeering(Format(r[:length(segs[:k+1])]))
	if s := p.session; s != nil && usable(s) {
		p.mu.Unlock()
		return s, nil
	}
	if p.attempt == nil {
		p.attempt = &attempt{done: make(chan struct{})}
		if !n.Go(func() { n.attempt(p, r, segs, k) }) {
			p.attempt = nil
			p.mu.Unlock()
			return nil, net.ErrClosed
		}
	}
	a := p.attempt
	p.mu.Unlock()
	select {
	case <-a.done:
		return a.session, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// usable tells whether new flows may be opened in s.
func usable(s *channel.Session) bool {
	select {
	case <-s.Done():
		return false
	case <-s.GoingAway():
		return false
	default:
		return true
	}
}

func length(segs []Route) (sum int) {
	for _, s := range segs {
		sum += len(s)
	}
	return sum
}

// lockPeering returns the peering with what key leads to, locked.
func (n *Node) lockPeering(key string) *peering {
	for {
		p := n.peering(key)
		p.mu.Lock()
		if !p.gone {
			return p
		}
		p.mu.Unlock()
	}
}

func (n *Node) peering(key string) *peering {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.peerings[key]
	if !ok {
		n.forgetPeerings()
		p = new(peering)
		n.peerings[key] = p
	}
	return p
}

// forgetPeerings forgets the sessions that have ended, and that nobody makes anew. It is called with mu locked.
func (n *Node) forgetPeerings() {
	maps.DeleteFunc(n.peerings, func(_ string, p *peering) bool {
		if !p.mu.TryLock() { // somebody needs it
			return false
		}
		defer p.mu.Unlock()
		p.gone = p.attempt == nil && (p.session == nil || ended(p.session))
		return p.gone
	})
}

func ended(s *channel.Session) bool {
	select {
	case <-s.Done():
		return true
	default:
		return false
	}
}

// attempt makes p's session.
func (n *Node) attempt(p *peering, r Route, segs []Route, k int) {
	session, err := n.endpoint.Initiate(n.ctx, forwardName(segs[k]), func(ctx context.Context) (channel.Conn, error) {
		return n.open(ctx, r, segs, k, wire.Message{})
	})
	if status := (*StatusError)(nil); errors.As(err, &status) {
		err = status
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.attempt
	p.attempt = nil
	if err == nil {
		p.session = session
	}
	a.session, a.err = session, err
	close(a.done)
}

func (n *Node) connectTimeout() time.Duration {
	if n.config.ConnectTimeout > 0 {
		return n.config.ConnectTimeout
	}
	return DefaultConnectTimeout
}

// dialTransport makes a link to the node that listens at a.
func (n *Node) dialTransport(ctx context.Context, a wire.Address) (netio.Conn, error) {
	network, address := "tcp", HostPort(a)
	if a.Kind == wire.Unix {
		network, address = "unix", a.Name
	}
	c, err := netio.Dial(ctx, network, address, n.connectTimeout())
	if err != nil {
		return nil, &DialError{Where: HostPort(a), Err: err}
	}
	return netio.Wrap(c), nil // Go has turned Nagle's algorithm off already
}

// DialError says that a node could not be reached from this one.
type DialError struct {
	Where string
	Err   error
}

func (e *DialError) Error() string {
	err := e.Err
	if operation := (*net.OpError)(nil); errors.As(err, &operation) {
		err = operation.Err
	}
	return fmt.Sprintf("cannot reach %s: %v", e.Where, err)
}

func (e *DialError) Unwrap() error { return e.Err }

package portal

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// lazyAnswer is how long an answer may wait for the target's first bytes, to go out with them.
const lazyAnswer = time.Second

// Outlet stands next to a service, and dials it for each stream that asks. Its fields are not
// changed once Serve has been called, which is safe for concurrent use.
type Outlet struct {
	// Target is the service's address: host:port or unix:PATH, or udp://host:port, whose service is
	// sent datagrams: it is to be handled under a name that route.ToDatagrams makes.
	Target transport.Address

	// Dial makes a connection to the service in place of dialing Target; ctx bounds that. It may
	// be a stream of another kind, and is closed by the outlet. Nil dials Target.
	Dial func(ctx context.Context) (net.Conn, error)

	// Choose says which service a stream is for, in place of Target, Dial, TLS and Check. Nil is that
	// all are for the one that those are.
	Choose Chooser

	// TLS has each connection to the service be one of TLS, as it says. Nil has none be.
	TLS *tls.Config

	// Once has the first stream that asks be served, and no other.
	Once bool

	// Ended is told how each stream that was to be served has ended: nil if it was carried to its
	// end. Nil is told of none.
	Ended func(err error)

	// ProxyProtocol has each connection to the service begin with a header of the PROXY
	// protocol, version 2, that says who is calling.
	ProxyProtocol bool

	// Check says whether the service is well: while it is not, streams are refused. Its user runs it.
	// Nil is that it always is.
	Check *Check

	// Track is told of each connection to a service, by the Target of that, and returns who follows
	// it. Nil is told of none.
	Track func(app route.Conn, target string) Follower

	// ConnectTimeout bounds the dialing of the service. 0 means DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// Logger gets how connections end, as Log says. Nil means slog.Default.
	Logger *slog.Logger
	Log    LogPolicy

	log connectionLog

	datagrams lazyDialer

	taken  atomic.Bool           // by the first stream
	failed atomic.Pointer[error] // why the service was not reached the last time; nil: it was
}

// TargetError tells why the service was not reached when it was dialed last, or is not well as its
// Check says; nil: it was, or has not been dialed yet.
func (o *Outlet) TargetError() error {
	if sick := o.Check.whySick(); sick != nil {
		return sick
	}
	if err := o.failed.Load(); err != nil {
		return *err
	}
	return nil
}

var _ route.Handler = (*Outlet)(nil).Serve

// Serve is the outlet's route.Handler. The peer has been authenticated and is trusted before it is
// called.
func (o *Outlet) Serve(ctx context.Context, q *route.Request) error {
	if o.Once && !o.taken.CompareAndSwap(false, true) {
		return route.RefuseForNow("the outlet is for one connection, which somebody else has", nil)
	}
	c := &carried{began: time.Now()}
	err := o.open(ctx, q, c)
	if err != nil {
		return o.over(q, c, err)
	}
	// What either application does is no error of the outlet's.
	if done := o.staying(q, c); done != nil {
		c.proxy(outletTally).StartHere(done)
		return nil
	}
	o.ended(q, c, c.proxy(outletTally).Run())
	return nil
}

// staying returns what ends a request that may outlive the goroutine that serves it, or nil if it
// may not.
//
//go:noinline
func (o *Outlet) staying(q *route.Request, c *carried) (done func(error)) {
	over, ok := q.Stay()
	if !ok {
		return nil
	}
	return func(err error) {
		o.ended(q, c, err)
		over(nil)
	}
}

// Admits returns why whoever asks could reach nothing, or nil: it is what a probe is answered by.
func (o *Outlet) Admits(q *route.Request) error {
	if o.Choose == nil {
		return nil
	}
	return o.Choose.Admits(q)
}

// open makes a connection to the service, and answers. It is a function of its own, as all that is
// done before a connection is open or when it is not any more, for the sake of the stack of who
// waits for the end.
//
//go:noinline
func (o *Outlet) open(ctx context.Context, q *route.Request, c *carried) error {
	to, header, err := o.choose(ctx, q)
	if err == nil {
		err = o.dial(ctx, to, header, c)
	}
	if err != nil {
		outletRefusals.Inc()
		return err
	}
	o.opened(q, c, to)
	lazy := q.Message.Flags&wire.Lazy != 0
	c.stream = q.Accept()
	if lazy {
		c.stream.FlushWithin(lazyAnswer)
		return nil
	}
	err = c.stream.Flush()
	if err != nil {
		_ = netio.Reset(c.app)
	}
	return err
}

// choose returns the service that a stream is for, and what that is told first, or nil. What is not
// needed while dialing is in functions of its own: the stack that is needed stays.
//
//go:noinline
func (o *Outlet) choose(ctx context.Context, q *route.Request) (*Service, []byte, error) {
	header, err := o.header(q)
	if err != nil {
		return nil, nil, err
	}
	s := &Service{Target: transport.Format(o.Target), Dial: o.Dial, TLS: o.TLS, Check: o.Check}
	switch {
	case o.Choose != nil:
		s, err = o.Choose.Choose(ctx, q)
	case s.Dial != nil:
	case o.Target.Kind == wire.UDP:
		s.Dial, s.TLS, header = o.dialDatagrams, nil, nil
	default:
		s.Dial = DialTarget(o.Target, o.ConnectTimeout)
	}
	if err == nil {
		err = s.Check.refusal()
	}
	return s, header, err
}

// opened is called when the connection to the service is there.
//
//go:noinline
func (o *Outlet) opened(q *route.Request, c *carried, to *Service) {
	c.to = to.Target
	if to.still != nil {
		c.rights = &rights{session: q.Session, still: to.still}
	}
	q.Watch(c.app)
	outletOpening.Observe(time.Since(c.began))
	if o.Track != nil {
		c.follow = o.Track(c.app, c.to)
	}
}

// over is what follows the end of a connection to the service, if there is one, and tells that the
// stream has ended because of err, which it returns.
//
//go:noinline
func (o *Outlet) over(q *route.Request, c *carried, err error) error {
	if c.app != nil {
		c.end()
		q.Unwatch(c.app)
	}
	if o.Ended != nil {
		o.Ended(err)
	}
	return err
}

// DialTarget returns what dials a service's address. timeout bounds it besides its ctx; 0 means
// DefaultConnectTimeout.
func DialTarget(
	a transport.Address, timeout time.Duration,
) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return transport.DialGuarded(ctx, a, orDefault(timeout))
	}
}

// dial connects to the service and sends it the header, if there is one.
func (o *Outlet) dial(ctx context.Context, s *Service, header []byte, c *carried) error {
	target, err := s.Dial(ctx)
	if err == nil && header != nil {
		err = sendHeader(target, header, orDefault(o.ConnectTimeout))
	}
	if err == nil && s.TLS != nil {
		target, err = dialTLS(ctx, target, s.TLS, orDefault(o.ConnectTimeout))
	}
	o.reached(err)
	if err != nil {
		s.Check.hasten()
		return refusal(err)
	}
	c.app = wrap(target) // a bare connection cannot be reset, and would end
	return nil
}

// reached takes note of whether the service was, if there is one only.
func (o *Outlet) reached(err error) {
	switch {
	case o.Choose != nil:
	case err != nil:
		o.failed.Store(&err)
	case o.failed.Load() != nil:
		o.failed.Store(nil)
	}
}

// sendHeader sends a service the header, or resets the connection.
func sendHeader(target net.Conn, header []byte, timeout time.Duration) error {
	_ = target.SetWriteDeadline(time.Now().Add(timeout)) // where there is one
	_, err := target.Write(header)
	_ = target.SetWriteDeadline(time.Time{})
	if err != nil {
		_ = netio.Reset(wrap(target))
	}
	return err
}

// refusal is what the inlet is told when the target was not reached.
func refusal(err error) error {
	var said *route.StatusError
	if errors.As(err, &said) {
		return said
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return route.RefuseBecause(wire.Refused, "the target refused the connection", err)
	}
	return route.RefuseBecause(wire.Unreachable, "the target cannot be reached", err)
}

// ended is the end of a connection that was carried: it says how.
//
//go:noinline
func (o *Outlet) ended(q *route.Request, c *carried, err error) {
	o.log.log(o.Logger, o.Log, ended{
		app: c.app, stream: c.stream, began: c.began, err: err,
		about: []any{"target", c.to},
	})
	_ = o.over(q, c, err)
}

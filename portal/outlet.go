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
	// Target is the service's address: host:port or unix:PATH.
	Target transport.Address

	// Dial makes a connection to the service in place of dialing Target; ctx bounds that. It may
	// be a stream of another kind, and is closed by the outlet. Nil dials Target.
	Dial func(ctx context.Context) (net.Conn, error)

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

	// Track is told of each connection to the service, and returns who follows it. Nil is told of
	// none.
	Track func(app route.Conn) Follower

	// ConnectTimeout bounds the dialing of the service. 0 means DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// Logger gets how connections end, as Log says. Nil means slog.Default.
	Logger *slog.Logger
	Log    LogPolicy

	log connectionLog

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
		return route.Refuse(wire.Busy, "the outlet is for one connection, which somebody else has")
	}
	c := &carried{began: time.Now()}
	err := o.open(ctx, q, c)
	if err != nil {
		return o.over(q, c, err)
	}
	o.ended(q, c, c.proxy(outletTally).Run())
	return nil // what either application does is no error of the outlet's
}

// open makes a connection to the service, and answers. It is a function of its own, as all that is
// done before a connection is open or when it is not any more, for the sake of the stack of who
// waits for the end.
//
//go:noinline
func (o *Outlet) open(ctx context.Context, q *route.Request, c *carried) error {
	header, err := o.header(q)
	if err != nil {
		return err
	}
	if err := o.Check.refusal(); err != nil {
		outletRefusals.Inc()
		return err
	}
	target, err := o.dial(ctx, header)
	if err != nil {
		why := err
		o.failed.Store(&why)
		o.Check.hasten()
		outletRefusals.Inc()
		return refusal(err)
	}
	if o.failed.Load() != nil {
		o.failed.Store(nil)
	}
	c.app = wrap(target) // a bare connection cannot be reset, and would end
	q.Watch(c.app)
	outletOpening.Observe(time.Since(c.began))
	if o.Track != nil {
		c.follow = o.Track(c.app)
	}
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

// dial connects to the service and sends it the header, if there is one.
func (o *Outlet) dial(ctx context.Context, header []byte) (net.Conn, error) {
	timeout := orDefault(o.ConnectTimeout)
	var target net.Conn
	var err error
	if o.Dial != nil {
		target, err = o.Dial(ctx)
	} else {
		target, err = transport.DialGuarded(ctx, o.Target, timeout)
	}
	if err == nil && header != nil {
		err = sendHeader(target, header, timeout)
	}
	if err == nil && o.TLS != nil {
		return dialTLS(ctx, target, o.TLS, timeout)
	}
	return target, err
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
		about: []any{"target", transport.Format(o.Target)},
	})
	_ = o.over(q, c, err)
}

package portal

import (
	"cmp"
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

	taken atomic.Bool // by the first stream
}

var _ route.Handler = (*Outlet)(nil).Serve

// Serve is the outlet's route.Handler. The peer has been authenticated and is trusted before it is
// called.
func (o *Outlet) Serve(ctx context.Context, q *route.Request) error {
	if o.Once && !o.taken.CompareAndSwap(false, true) {
		return route.Refuse(wire.Busy, "the outlet is for one connection, which somebody else has")
	}
	ended, err := o.serve(ctx, q)
	if o.Ended != nil {
		o.Ended(cmp.Or(err, ended))
	}
	return err
}

// serve returns how a stream that was served has ended, and why one was not served.
func (o *Outlet) serve(ctx context.Context, q *route.Request) (ended, err error) {
	header, err := o.header(q)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := o.Check.refusal(); err != nil {
		outletRefusals.Inc()
		return nil, err
	}
	target, err := o.dial(ctx, header)
	if err != nil {
		o.Check.hasten()
		outletRefusals.Inc()
		return nil, refusal(err)
	}
	app := wrap(target) // a bare connection cannot be reset, and would end
	q.Watch(app)
	defer q.Unwatch(app)
	outletOpening.Observe(time.Since(began))
	var follow Follower
	if o.Track != nil {
		follow = o.Track(app)
		defer follow.Ended()
	}
	lazy := q.Message.Flags&wire.Lazy != 0
	stream := q.Accept()
	if lazy {
		stream.FlushWithin(lazyAnswer)
	} else if err := stream.Flush(); err != nil {
		_ = netio.Reset(app)
		return nil, err
	}
	copying := newProxy(app, stream, outletTally)
	if follow != nil {
		follow.Opened(stream, &copying.Proxy)
	}
	ended = copying.Run()
	o.ended(app, stream, began, ended)
	return ended, nil // what either application does is no error of the outlet's
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

// ended is a function of its own for the sake of the stack of who waits for the end.
//
//go:noinline
func (o *Outlet) ended(app route.Conn, stream *route.Stream, began time.Time, err error) {
	o.log.log(o.Logger, o.Log, ended{
		app: app, stream: stream, began: began, err: err,
		about: []any{"target", transport.Format(o.Target)},
	})
}

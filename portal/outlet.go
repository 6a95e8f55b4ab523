package portal

import (
	"context"
	"errors"
	"log/slog"
	"net"
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
}

var _ route.Handler = (*Outlet)(nil).Serve

// Serve is the outlet's route.Handler. The peer has been authenticated and is trusted before it is
// called.
func (o *Outlet) Serve(ctx context.Context, q *route.Request) error {
	header, err := o.header(q)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := o.Check.refusal(); err != nil {
		outletRefusals.Inc()
		return err
	}
	target, err := o.dial(ctx, header)
	if err != nil {
		o.Check.hasten()
		outletRefusals.Inc()
		return refusal(err)
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
		return err
	}
	copying := newProxy(app, stream, outletTally)
	if follow != nil {
		follow.Opened(stream, &copying.Proxy)
	}
	err = copying.Run()
	o.ended(app, stream, began, err)
	return nil // what either application does is no error of the outlet's
}

// dial connects to the service and sends it the header, if there is one.
func (o *Outlet) dial(ctx context.Context, header []byte) (net.Conn, error) {
	target, err := transport.DialGuarded(ctx, o.Target, orDefault(o.ConnectTimeout))
	if err != nil || header == nil {
		return target, err
	}
	_ = target.SetWriteDeadline(time.Now().Add(orDefault(o.ConnectTimeout)))
	if _, err = target.Write(header); err == nil {
		err = target.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		_ = netio.Reset(wrap(target))
		return nil, err
	}
	return target, nil
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

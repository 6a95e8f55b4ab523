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
	"github.com/secureportal/sp/wire"
)

// Outlet stands next to a service and dials it for each stream that asks.
type Outlet struct {
	Network string // of the service: "tcp" or "unix"
	Address string // of the service

	ConnectTimeout time.Duration // for dialing the service; 0 means DefaultConnectTimeout
	Logger         *slog.Logger  // nil means slog.Default
}

var _ route.Handler = (*Outlet)(nil).Serve

// Serve is the outlet's route.Handler. The peer has been authenticated and is trusted before it is called.
func (o *Outlet) Serve(ctx context.Context, q *route.Request) error {
	target, err := o.dial(ctx)
	if err != nil {
		loggerOr(o.Logger).Warn("target not reached", "target", o.Address, "error", err)
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
			return route.Refuse(wire.Refused, "the target refused the connection")
		}
		return route.Refuse(wire.Unreachable, "the target cannot be reached")
	}
	stream := q.Accept()
	if q.Message.Flags&wire.Lazy == 0 {
		if err := stream.Flush(); err != nil {
			_ = netio.Reset(target)
			return err
		}
	}
	err = join(ctx, target, stream)
	loggerOr(o.Logger).Debug("connection ended", "target", o.Address, "error", err)
	return nil // what either application does is no error of the outlet's
}

func (o *Outlet) dial(ctx context.Context) (netio.Conn, error) {
	d := net.Dialer{Timeout: orDefault(o.ConnectTimeout)}
	c, err := d.DialContext(ctx, o.Network, o.Address)
	if err != nil {
		return nil, err
	}
	return tune(c), nil
}

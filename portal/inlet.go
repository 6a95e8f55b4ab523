package portal

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
)

// Inlet listens where applications are and opens a stream for each of their connections.
type Inlet struct {
	// Open opens a stream to the outlet. It may wait for the far end until ctx ends.
	Open func(ctx context.Context) (*route.Stream, error)

	// Begin counts a connection among what a shutdown waits for. Nil counts nothing.
	Begin func() (end func(), err error)

	ConnectTimeout time.Duration // for Open; 0 means DefaultConnectTimeout
	Logger         *slog.Logger  // nil means slog.Default
}

// Serve accepts connections on l until accepting ends, and carries them until they end or working does. It closes l.
func (i *Inlet) Serve(accepting, working context.Context, l net.Listener) error {
	stop := context.AfterFunc(accepting, func() { _ = l.Close() })
	defer stop()
	defer l.Close()
	var connections sync.WaitGroup
	defer connections.Wait()
	return route.Accept(accepting, l, loggerOr(i.Logger), func(c net.Conn) {
		connections.Go(func() { _ = i.Carry(working, c) })
	})
}

// Carry opens a stream and joins it with app. It returns why the connection ended, if not as the applications wanted.
func (i *Inlet) Carry(ctx context.Context, app net.Conn) error {
	conn := tune(app)
	if i.Begin != nil {
		end, err := i.Begin()
		if err != nil {
			_ = netio.Reset(conn)
			return err
		}
		defer end()
	}
	err := i.carry(ctx, conn)
	i.log(app, err)
	return err
}

func (i *Inlet) carry(ctx context.Context, app netio.Conn) error {
	opening, cancel := context.WithTimeout(ctx, orDefault(i.ConnectTimeout))
	defer cancel()
	stream, err := i.Open(opening)
	if err != nil {
		_ = netio.Reset(app)
		return err
	}
	if err := netio.WriteReady(stream, app); err != nil {
		_ = stream.Reset()
		_ = netio.Reset(app)
		return err
	}
	return join(ctx, app, stream)
}

// log says why a connection ended. That an application reset its own connection is its own affair.
func (i *Inlet) log(app net.Conn, err error) {
	logger := loggerOr(i.Logger)
	switch {
	case err == nil, netio.IsReset(err):
		logger.Debug("connection ended", "client", app.RemoteAddr(), "error", err)
	default:
		logger.Warn("connection failed", "client", app.RemoteAddr(), "error", err)
	}
}

package portal

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/route"
)

// answerGrace is how much longer than its ConnectTimeout an inlet waits for the outlet's answer, which has a timeout of
// its own for the target and says so.
const answerGrace = 5 * time.Second

// Inlet listens where applications are and opens a stream for each of their connections.
type Inlet struct {
	// Open opens a stream to the outlet, with client in the opening message: what the outlet is told about the
	// application. It may wait for the far end until ctx ends.
	Open func(ctx context.Context, client []byte) (*route.Stream, error)

	// Begin counts a connection among what a shutdown waits for and watches it, until end is called. Nil does nothing.
	Begin func(app route.Conn) (end func(), err error)

	ConnectTimeout time.Duration // for Open; 0 means DefaultConnectTimeout
	Logger         *slog.Logger  // nil means slog.Default

	short logthrottle.Throttle
}

// Serve accepts connections on l until accepting ends, carries them until they end or their node does, and closes l.
// working bounds the opening of streams.
func (i *Inlet) Serve(accepting, working context.Context, l net.Listener) {
	stop := context.AfterFunc(accepting, func() { _ = l.Close() })
	defer stop()
	defer l.Close()
	var connections sync.WaitGroup
	defer connections.Wait()
	route.Accept(accepting, l, loggerOr(i.Logger), func(c net.Conn) {
		connections.Add(1)
		go i.begin(working, c, connections.Done)
	})
}

// begin opens a stream, and leaves copying to goroutines that begin with a small stack: opening takes a larger one,
// which would stay for as long as the connection lives.
func (i *Inlet) begin(ctx context.Context, app net.Conn, ended func()) {
	conn := wrap(app)
	end, stream, err := i.accept(ctx, conn)
	if err != nil {
		i.log(app, err)
		ended()
		return
	}
	start(conn, stream, func(err error) {
		i.log(app, err)
		end()
		ended()
	})
}

// Carry opens a stream and joins it with app. It returns why the connection ended, if not as the applications wanted.
func (i *Inlet) Carry(ctx context.Context, app net.Conn) error {
	conn := wrap(app)
	end, stream, err := i.accept(ctx, conn)
	if err == nil {
		err = join(conn, stream)
		end()
	}
	return err
}

// accept opens a stream for app, or resets app.
func (i *Inlet) accept(ctx context.Context, app netio.Conn) (end func(), stream *route.Stream, err error) {
	end = func() {}
	if i.Begin != nil {
		end, err = i.Begin(app)
	}
	if err == nil {
		if stream, err = i.open(ctx, app); err != nil {
			end()
		}
	}
	if err != nil {
		_ = netio.Reset(app)
	}
	return end, stream, err
}

// open opens a stream and sends what the application has said already.
func (i *Inlet) open(ctx context.Context, app netio.Conn) (*route.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(i.ConnectTimeout))
	defer cancel()
	stream, err := i.Open(ctx, clientPayload(app))
	if err != nil {
		return nil, err
	}
	stream.AnswerBy(time.Now().Add(orDefault(i.ConnectTimeout) + answerGrace))
	if err := netio.WriteReady(stream, app); err != nil {
		_ = stream.Reset()
		return nil, err
	}
	return stream, nil
}

// log says why a connection ended. That an application reset its own connection is its own affair.
func (i *Inlet) log(app net.Conn, err error) {
	logger := loggerOr(i.Logger)
	switch {
	case err == nil, netio.IsReset(err):
		logger.Debug("connection ended", "client", app.RemoteAddr(), "error", err)
	default:
		logger.Log(context.Background(), i.short.Level(err, time.Now()), "connection failed", "client", app.RemoteAddr(), "error", err)
	}
}

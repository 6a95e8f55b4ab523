package portal

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
)

// answerGrace is how much longer than its ConnectTimeout an inlet waits for the outlet's answer:
// the outlet has a timeout of its own for the target, and says so.
const answerGrace = 5 * time.Second

// Inlet stands where applications are, and opens a stream for each of their connections. Its fields
// are not changed once one of its methods has been called; it is safe for concurrent use.
type Inlet struct {
	// Open opens a stream to the outlet. client goes into the opening message: it is what the
	// outlet is told about the application's connection. Open may wait for the far end until ctx
	// ends. It is called for several connections at the same time.
	Open func(ctx context.Context, client []byte) (*route.Stream, error)

	// Begin counts a connection among those that a shutdown waits for, and resets it when the
	// node ends, until end is called, once. An error refuses the connection. Nil does nothing.
	Begin func(app route.Conn) (end func(), err error)

	// ConnectTimeout bounds Open, and then the outlet's answer, for which it is 5 s longer. 0
	// means DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// Logger gets why connections fail. Nil means slog.Default.
	Logger *slog.Logger

	throttle logthrottle.Throttle
	repeats  logthrottle.Repeats[string]
}

// Serve accepts connections on l until accepting ends, and carries each until it ends or its node
// does. It closes l, and returns when all connections have ended. working bounds the opening of
// streams.
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

// begin opens a stream, and leaves copying to goroutines that begin with a small stack: opening
// takes a larger one, which would stay for as long as the connection lives.
func (i *Inlet) begin(ctx context.Context, app net.Conn, ended func()) {
	conn := wrap(app)
	end, stream, err := i.accept(ctx, conn)
	if err != nil {
		i.log(app, err)
		ended()
		return
	}
	newProxy(conn, stream, &inletCounts).Start(func(err error) {
		i.log(app, err)
		end()
		ended()
	})
}

// Carry opens a stream for app and copies between the two until they end. It closes app, and
// returns why the connection ended, if not as the applications wanted.
func (i *Inlet) Carry(ctx context.Context, app net.Conn) error {
	conn := wrap(app)
	end, stream, err := i.accept(ctx, conn)
	if err == nil {
		err = newProxy(conn, stream, &inletCounts).Run()
		end()
	}
	return err
}

// accept opens a stream for app, or resets app.
func (i *Inlet) accept(
	ctx context.Context, app netio.Conn,
) (end func(), stream *route.Stream, err error) {
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
		inletFailures.Inc()
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
	n, err := netio.WriteReady(stream, app)
	if err != nil {
		_ = stream.Reset()
		return nil, err
	}
	inletCounts.toStream.Add(uint64(n))
	return stream, nil
}

// log says why a connection ended. That an application reset its own connection is its own affair,
// on either side. What keeps happening is told at once, and then rarely: all who connect while the
// outlet is down meet the same.
func (i *Inlet) log(app net.Conn, err error) {
	level, text := slog.LevelDebug, "connection ended"
	about := []any{"client", app.RemoteAddr(), "error", err}
	if err != nil && !netio.IsReset(err) && !errors.Is(err, channel.ErrReset) {
		now := time.Now()
		level, text = i.throttle.Level(err, now), "connection failed"
		due, since, omitted := i.repeats.Due(err.Error(), now)
		if !due {
			level = slog.LevelDebug
		}
		if omitted > 0 {
			about = append(about, "since", since.Format(time.RFC3339), "left out", omitted)
		}
	}
	loggerOr(i.Logger).Log(context.Background(), level, text, about...)
}

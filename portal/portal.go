// Package portal carries a TCP service to where it is not: an inlet accepts the applications' connections and opens a
// stream over a route for each, an outlet dials the service for each stream that reaches it, and each copies between
// the two. What one application ends, half-closes or resets, the other one sees ended, half-closed or reset.
//
// Dial and Listen are the same as a library: a net.Conn to, and a net.Listener for, streams over routes.
//
// The package never sees a key or a byte of a protocol: who may open a stream is decided before it is asked.
package portal

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
)

// DefaultConnectTimeout is how long an inlet's connection waits for the far end, and an outlet for its target.
const DefaultConnectTimeout = 10 * time.Second

// join copies between app and stream, each way, until both directions have ended, and closes both. An error on one
// side, a reset among them, resets the other. It returns the first error.
func join(ctx context.Context, app netio.Conn, stream *route.Stream) error {
	j := &joint{app: app, stream: stream}
	stop := context.AfterFunc(ctx, func() { j.fail(context.Cause(ctx)) })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(j.appToStream)
	j.streamToApp()
	wg.Wait()
	_ = app.Close()
	_ = stream.Close()
	return j.err
}

// joint is the two sides of a join. Its methods give goroutines their names in stacks.
type joint struct {
	app    netio.Conn
	stream *route.Stream

	once sync.Once
	err  error
}

func (j *joint) appToStream() {
	_, err := j.stream.ReadFrom(j.app)
	if err == nil {
		err = j.stream.CloseWrite()
	}
	j.ended(err)
}

func (j *joint) streamToApp() {
	_, err := j.stream.WriteTo(j.app)
	if err == nil {
		err = j.app.CloseWrite()
		if errors.Is(err, net.ErrClosed) || isNotConnected(err) {
			err = nil // the application has closed altogether; its direction says how
		}
	}
	j.ended(err)
}

func (j *joint) ended(err error) {
	if err != nil {
		j.fail(err)
	}
}

// fail resets both sides because of err.
func (j *joint) fail(err error) {
	j.once.Do(func() {
		j.err = err
		if reason := j.stream.Err(); reason != nil {
			j.err = reason
		}
		_ = j.stream.Reset()
		_ = netio.Reset(j.app)
	})
}

func loggerOr(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.Default()
	}
	return l
}

func orDefault(d time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return DefaultConnectTimeout
}

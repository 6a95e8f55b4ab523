// Package portal carries a TCP service to where it is not: an inlet accepts the applications' connections and opens a
// stream over a route for each, an outlet dials the service for each stream that reaches it, and each copies between
// the two. What one application ends, half-closes or resets, the other one sees ended, half-closed or reset.
//
// Dial and Listen are the same as a library: a net.Conn to, and a net.Listener for, streams over routes.
//
// Inlet and Outlet never see a key: who may open a stream is decided before they are asked.
package portal

import (
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

// joint is an application's connection and a stream that are being copied to each other, each way, until both
// directions have ended. An error on one side, a reset among them, resets the other; so does an application that is
// reset after it has ended its direction. A stream ends with its node, and so does the joint. Its methods give
// goroutines their names in stacks.
type joint struct {
	app    netio.Conn
	stream *route.Stream

	other sync.WaitGroup // the direction that has a goroutine of its own
	once  sync.Once
	err   error
}

// newJoint returns a joint that fails when the stream's channel ends, even while both directions wait for app.
func newJoint(app netio.Conn, stream *route.Stream) *joint {
	j := &joint{app: app, stream: stream}
	stream.OnEnd(j.cut)
	return j
}

// cut is called when the stream's channel has ended.
func (j *joint) cut() { j.fail(net.ErrClosed) }

// join copies until both directions have ended, closes both sides, and returns the first error.
func join(app netio.Conn, stream *route.Stream) error {
	j := newJoint(app, stream)
	j.other.Go(j.appToStream)
	return j.finish()
}

// start is join without waiting: done is called with the first error.
func start(app netio.Conn, stream *route.Stream, done func(error)) {
	j := newJoint(app, stream)
	j.other.Go(j.appToStream)
	go func() { done(j.finish()) }()
}

// finish copies one direction, and waits for the other one.
func (j *joint) finish() error {
	j.streamToApp()
	j.other.Wait()
	j.stream.OnEnd(nil)
	j.once.Do(func() {}) // what is over does not fail any more
	_ = j.app.Close()
	_ = j.stream.Close()
	return j.err
}

func (j *joint) appToStream() {
	_, err := j.stream.ReadFrom(j.app)
	if err == nil {
		err = j.stream.CloseWrite()
	}
	if err == nil {
		err = netio.AwaitReset(j.app) // or nobody would notice that the application has died
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
	if err == nil {
		err = netio.AwaitReset(j.stream) // or nobody would notice that the far end, or the node, is gone
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

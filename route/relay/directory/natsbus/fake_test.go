package natsbus

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/secureportal/sp/internal/brokertest"
	"github.com/secureportal/sp/internal/natsconn"
	"github.com/secureportal/sp/internal/testkit"
)

// newFake returns a bus whose servers are what dial leads to.
func newFake(dial func(context.Context) (net.Conn, error)) *Bus {
	return New(Config{
		Servers: func() ([]natsconn.Server, error) {
			return []natsconn.Server{{Address: "192.0.2.1:4222"}}, nil
		},
		Dial:   func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) },
		Logger: slog.New(slog.DiscardHandler),
	})
}

// A server that lets everybody in and ends the connection a moment later is asked with pauses.
func TestPausesBetweenConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tooMany = 100
		var dialed atomic.Int64
		b := newFake(func(ctx context.Context) (net.Conn, error) {
			if dialed.Add(1) > tooMany {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				brokertest.AnswerPings(far, 2) // to be let in, and to be heard
			}()
			return near, nil
		})
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		b.Run(ctx)
		if n := dialed.Load(); n < 4 || n > 20 {
			t.Errorf("connected %d times in a minute", n)
		}
	})
}

// heldConn is a connection of which what is written waits while it is held.
type heldConn struct {
	net.Conn
	entered chan struct{}
	free    chan struct{} // nil: not held
	held    atomic.Bool
}

func (c *heldConn) Write(b []byte) (int, error) {
	if c.held.Load() {
		c.entered <- struct{}{}
		<-c.free
	}
	return c.Conn.Write(b)
}

// Whoever asks how the bus is, and what comes, waits for no server that takes nothing.
func TestStuckServer(t *testing.T) {
	near, far := net.Pipe()
	c := &heldConn{Conn: near, entered: make(chan struct{}, 99), free: make(chan struct{})}
	b := newFake(func(context.Context) (net.Conn, error) { return c, nil })
	ctx, stop := context.WithCancel(t.Context())
	ends := make(chan string, 4)
	go func() {
		brokertest.AnswerPings(far, 1<<30)
		ends <- "the server"
	}()
	go func() {
		b.Run(ctx)
		ends <- "the bus"
	}()
	up(t, b)
	stopFirst := b.Listen("sp.1.h.x", func([]byte, func([]byte)) {})
	c.held.Store(true)
	go func() {
		b.Tell("sp.1.o.x", []byte("x"))
		b.Listen("sp.1.h.y", func([]byte, func([]byte)) {})
		ends <- "who listens"
	}()
	testkit.Within(t, c.entered, "something is written")
	go func() {
		stopFirst()
		ends <- "who stops"
	}()
	testkit.Eventually(t, "who stops has come to the library", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.hears["sp.1.h.x"] == nil
	})
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for range 50 {
			b.State()
			b.lead(&nats.Msg{Subject: "sp.1.h.z"})
			time.Sleep(time.Millisecond)
		}
	}()
	select {
	case <-asked:
	case <-time.After(testkit.Patience):
		t.Error("somebody waits for the server")
	}
	c.held.Store(false)
	close(c.free)
	<-asked
	stop()
	for range cap(ends) {
		testkit.Within(t, ends, "the end")
	}
}

// Who asks a server that has gone silent waits for no longer than he wants to, and the bus goes to
// look for another one.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFake(func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				brokertest.AnswerPings(far, 2) // to be let in, and to be heard
				_, _ = io.Copy(io.Discard, far)
			}()
			return near, nil
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.Run(ctx)
		}()
		synctest.Wait()
		if now, _ := b.State(); !now.Up {
			t.Fatal(now.Err)
		}
		_, changed := b.State()
		asking, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		began := time.Now()
		err := b.Ask(asking, "sp.1.h.x", nil, func([]byte) bool { return true })
		if took := time.Since(began); took > time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v after %v", err, took)
		}
		<-changed
		if took := time.Since(began); took > time.Second+checkTime {
			t.Errorf("given up after %v", took)
		}
		stop()
		<-done
	})
}

// What is said to have gone wrong is what has.
func TestSaysWhatFails(t *testing.T) {
	for err, want := range map[error]string{
		nats.ErrSlowConsumer:        "is lost",
		net.ErrClosed:               "is lost",
		nats.ErrPermissionViolation: "has to be allowed to publish",
	} {
		var said strings.Builder
		b := New(Config{Logger: slog.New(slog.NewTextHandler(&said, nil))})
		b.failed(natsconn.Explain(err))
		if !strings.Contains(said.String(), want) {
			t.Errorf("%v: %s", err, &said)
		}
	}
}

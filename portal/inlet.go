package portal

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
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

	// Asks has clients say where they want to go before all else, with SOCKS 5 or HTTP's CONNECT. The
	// outlet connects there: client begins with it then, and the stream that Open returns is not one
	// whose answer may wait.
	Asks bool

	// Begin counts a connection among those that a shutdown waits for, and resets it when the
	// node ends, until it has ended. An error refuses the connection. Nil does nothing.
	Begin func(app route.Conn) (Follower, error)

	// Stopped is called when Serve accepts nothing any more, and Begin has been called for all that it
	// has accepted. Nil does nothing.
	Stopped func()

	// ConnectTimeout bounds Open, and then the outlet's answer, for which it is 5 s longer. 0
	// means DefaultConnectTimeout.
	ConnectTimeout time.Duration

	// Logger gets how connections end, as Log says. Nil means slog.Default.
	Logger *slog.Logger
	Log    LogPolicy

	log connectionLog
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
	route.Accept(accepting, l, loggerOr(i.Logger), func(app net.Conn) {
		connections.Add(1)
		c := &carried{app: wrap(app), began: time.Now()}
		err := i.count(c) // here: what has been accepted is carried, also if this is the end
		go i.begin(working, c, err, connections.Done)
	})
	if i.Stopped != nil {
		i.Stopped()
	}
}

// begin opens a stream, unless the connection is refused for an error, and leaves copying to
// goroutines that begin with a small stack: opening takes a larger one, which would stay for as
// long as the connection lives.
func (i *Inlet) begin(ctx context.Context, c *carried, err error, done func()) {
	if err := i.accept(ctx, c, err); err != nil {
		i.ended(c, err)
		done()
		return
	}
	c.proxy(inletTally).Start(func(err error) {
		i.ended(c, err)
		done()
	})
}

// carried is a connection of an application's.
type carried struct {
	app    netio.Conn // nil at an outlet that has not made it
	began  time.Time
	stream *route.Stream // nil if there is none
	follow Follower      // nil if nobody does
	to     string        // where it leads, if that is not the same for all of an inlet
	rights *rights       // whoever has asked an outlet for it must keep them; nil if none are needed
}

// Carry opens a stream for app and copies between the two until they end. It closes app, and
// returns why the connection ended, if not as the applications wanted.
func (i *Inlet) Carry(ctx context.Context, app net.Conn) error {
	c := &carried{app: wrap(app), began: time.Now()}
	err := i.accept(ctx, c, i.count(c))
	if err == nil {
		err = c.proxy(inletTally).Run()
	}
	c.end()
	return err
}

// count has a connection counted, or refused.
func (i *Inlet) count(c *carried) (err error) {
	if i.Begin != nil {
		c.follow, err = i.Begin(c.app)
	}
	return err
}

// accept opens a stream for a connection, or resets it if there is an error already.
func (i *Inlet) accept(ctx context.Context, c *carried, err error) error {
	if err == nil && i.Asks {
		err = i.openAsked(ctx, c)
	} else if err == nil {
		err = i.open(ctx, c)
	}
	if err != nil {
		inletFailures.Inc()
		_ = netio.Reset(c.app)
	}
	return err
}

// openAsked opens a stream to where a client wants to go, and tells the client.
func (i *Inlet) openAsked(ctx context.Context, c *carried) error {
	front := front{app: c.app}
	to, err := front.ask()
	if err != nil {
		return err
	}
	c.to = asked(to)
	if f, ok := c.follow.(Leader); ok {
		f.Leads(c.to)
	}
	err = i.openTo(ctx, c, to)
	if err == nil {
		err = c.stream.Await(ctx)
	}
	if err != nil {
		front.refuse(err)
	} else if err = front.accept(); err == nil && len(front.ahead) > 0 {
		_, err = c.stream.Write(front.ahead)
		inletTally.Add(uint64(len(front.ahead)), 0)
	}
	if err != nil && c.stream != nil {
		_ = c.stream.Reset()
	}
	return err
}

// openTo opens a stream that is to lead to an address.
func (i *Inlet) openTo(ctx context.Context, c *carried, to wire.Address) error {
	payload, err := wire.AppendWanted(nil, to)
	if err != nil {
		return err
	}
	return i.openWith(ctx, c, append(payload, clientPayload(c.app)...))
}

// open opens a stream and sends what the application has said already.
func (i *Inlet) open(ctx context.Context, c *carried) error {
	if err := i.openWith(ctx, c, clientPayload(c.app)); err != nil {
		return err
	}
	n, err := netio.WriteReady(c.stream, c.app)
	if err != nil {
		_ = c.stream.Reset()
		return err
	}
	inletTally.Add(uint64(n), 0)
	return nil
}

// openWith opens a stream whose opening message has a payload.
func (i *Inlet) openWith(ctx context.Context, c *carried, payload []byte) error {
	ctx, cancel := context.WithTimeout(ctx, orDefault(i.ConnectTimeout))
	defer cancel()
	stream, err := i.Open(ctx, payload)
	if err != nil {
		return err
	}
	stream.OnAnswer(func() { inletOpening.Observe(time.Since(c.began)) })
	stream.AnswerBy(time.Now().Add(orDefault(i.ConnectTimeout) + answerGrace))
	c.stream = stream
	return nil
}

// ended is the end of a connection: it says how.
func (i *Inlet) ended(c *carried, err error) {
	about := []any{"client", c.app.RemoteAddr()}
	if c.to != "" {
		about = append(about, "target", c.to)
	}
	i.log.log(i.Logger, i.Log, ended{
		app: c.app, stream: c.stream, began: c.began, err: err, about: about,
	})
	c.end()
}

// proxy returns what copies.
//
//go:noinline
func (c *carried) proxy(tally *netio.Tally) *proxy {
	p := newProxy(c.app, c.stream, tally)
	if c.follow != nil {
		c.follow.Opened(c.stream, &p.Proxy)
	}
	c.rights.watch(p)
	return p
}

func (c *carried) end() {
	c.rights.end()
	if c.follow != nil {
		c.follow.Ended()
	}
}

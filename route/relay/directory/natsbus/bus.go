// Package natsbus is the bus of relays' directory on the servers of NATS: its core, in which
// nothing is stored. Who listens for a name is what NATS calls interest, and where nobody does, a
// server says so at once.
package natsbus

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"io"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/internal/natsconn"
	"github.com/secureportal/sp/route/relay/directory"
	"github.com/secureportal/sp/route/relay/sets"
)

// Limits and times of a bus.
const (
	maxWaiting = 4096 // messages that have come and are not looked at yet; further ones are lost
	maxReplies = 16   // of one question that are not looked at yet

	retryLeast  = 500 * time.Millisecond // between two attempts at all servers
	retryMost   = 15 * time.Second
	steadyAfter = 10 * time.Second // after which a connection has been a good one
	checkTime   = 2 * time.Second  // for a server to say that it is there, where nobody answers
)

// answers begins the subjects on which answers are heard.
const answers = sets.Prefix + "r."

// maxAnswerSubject is the most bytes of one.
const maxAnswerSubject = 128

// Config is what a bus is made of.
type Config struct {
	// Servers returns those of the cluster, one at least. It is called for each connection.
	Servers func() ([]natsconn.Server, error)
	Name    string // what the servers' operator sees
	Dial    func(ctx context.Context, address string) (net.Conn, error)
	Logger  *slog.Logger
}

// Bus is a bus on NATS. Run connects it.
type Bus struct {
	config Config
	inbox  string
	come   chan *nats.Msg

	mu      sync.Mutex     // guards what follows, up to ended
	conn    *natsconn.Conn // nil while it is down
	state   directory.State
	changed chan struct{}
	hears   map[string]*hearing
	asks    map[string]chan *nats.Msg // by the subject of the answers
	ended   bool                      // Run has, and nothing else begins

	tasks    sync.WaitGroup // of what Run waits for
	checking atomic.Bool

	refused logthrottle.Throttle
}

// hearing is a subject that is listened to.
type hearing struct {
	f       func([]byte, func([]byte))
	sub     *nats.Subscription // nil while it is down, or is not listened yet
	stopped bool
}

var _ directory.Bus = (*Bus)(nil)

// New returns a bus that is down.
func New(c Config) *Bus {
	return &Bus{
		config: c, inbox: answers + token() + ".", come: make(chan *nats.Msg, maxWaiting),
		changed: make(chan struct{}), hears: make(map[string]*hearing),
		asks: make(map[string]chan *nats.Msg),
	}
}

// token returns letters and digits that nobody guesses.
func token() string {
	var b [15]byte
	_, _ = rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// Listen implements directory.Bus.
func (b *Bus) Listen(subject string, f func([]byte, func([]byte))) (stop func()) {
	h := &hearing{f: f}
	b.mu.Lock()
	b.hears[subject] = h
	c := b.conn
	b.mu.Unlock()
	if c != nil {
		b.begin(c, subject, h)
	}
	return func() {
		b.mu.Lock()
		if b.hears[subject] == h {
			delete(b.hears, subject)
		}
		sub := h.sub
		h.sub, h.stopped = nil, true
		b.mu.Unlock()
		if sub != nil {
			_ = sub.Unsubscribe()
		}
	}
}

// begin has the server of a connection send what is said on a subject. The library may make who
// calls it wait for a write that a server does not take: so b.mu is not held meanwhile.
func (b *Bus) begin(c *natsconn.Conn, subject string, h *hearing) {
	sub, err := c.ChanSubscribe(subject, b.come)
	if err != nil {
		return // the connection ends, or is closed
	}
	b.mu.Lock()
	stopped := h.stopped
	if !stopped && b.conn == c {
		h.sub = sub
	}
	b.mu.Unlock()
	if stopped {
		_ = sub.Unsubscribe()
	}
}

// Tell implements directory.Bus.
func (b *Bus) Tell(subject string, what []byte) {
	b.mu.Lock()
	c := b.conn
	b.mu.Unlock()
	if c != nil {
		_ = c.Publish(subject, what)
	}
}

// Ask implements directory.Bus.
func (b *Bus) Ask(
	ctx context.Context, subject string, what []byte, each func([]byte) (enough bool),
) error {
	to, replies := b.inbox+token(), make(chan *nats.Msg, maxReplies)
	b.mu.Lock()
	c := b.conn
	if c != nil {
		b.asks[to] = replies
	}
	b.mu.Unlock()
	if c == nil {
		return directory.ErrDown
	}
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.asks, to)
	}()
	sent := make(chan error, 1)
	if !b.inBackground(func() { sent <- c.PublishRequest(subject, to, what) }) {
		return directory.ErrDown
	}
	for some := false; ; {
		select {
		case err := <-sent:
			if err != nil {
				return directory.ErrDown
			}
		case m := <-replies:
			some = true
			switch {
			case natsconn.IsNobody(m):
				return directory.ErrNobody
			case each(m.Data):
				return nil
			}
		case <-c.Closed():
			return directory.ErrDown
		case <-ctx.Done():
			if !some {
				b.inBackground(func() { b.check(c) })
			}
			return ctx.Err()
		}
	}
}

// check ends a connection whose server does not say that it is there: another one may. One check at
// a time is enough.
func (b *Bus) check(c *natsconn.Conn) {
	if !b.checking.CompareAndSwap(false, true) {
		return
	}
	defer b.checking.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	if err := c.FlushWithContext(ctx); errors.Is(err, context.DeadlineExceeded) {
		c.Conn.Close()
	}
}

// inBackground runs f, for which Run waits, unless that has ended. What f waits for is the library,
// which lets nobody go before a write has ended, one way or the other.
func (b *Bus) inBackground(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return false
	}
	b.tasks.Go(f)
	return true
}

// State implements directory.Bus.
func (b *Bus) State() (directory.State, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state, b.changed
}

// Run keeps the bus connected until ctx ends, and returns when all that it has started has ended.
func (b *Bus) Run(ctx context.Context) {
	defer func() {
		b.mu.Lock()
		b.ended = true
		b.mu.Unlock()
		b.tasks.Wait()
	}()
	b.tasks.Go(func() { b.dispatch(ctx) })
	for wait := retryLeast; ctx.Err() == nil; wait = min(2*wait, retryMost) {
		lived, err := b.once(ctx)
		b.down(err)
		if lived >= steadyAfter {
			wait = retryLeast
		}
		timer := time.NewTimer(wait/2 + mathrand.N(wait))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// once keeps the bus connected until that connection ends, or ctx, and returns for how long it has
// been, and why it is not any more.
func (b *Bus) once(ctx context.Context) (lived time.Duration, err error) {
	c, lost, err := b.connect(ctx)
	if err != nil {
		return 0, err
	}
	since := time.Now()
	select {
	case <-c.Closed():
	case <-ctx.Done():
	}
	c.Close()
	select {
	case err = <-lost:
	default:
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = errLost
	}
	return time.Since(since), err
}

var errLost = errors.New("the broker has ended the connection")

// connect connects to a server, and has it send all that is listened for. What the connection was
// lost for comes on lost.
func (b *Bus) connect(ctx context.Context) (c *natsconn.Conn, lost chan error, err error) {
	servers, err := b.config.Servers()
	if err != nil {
		return nil, nil, err
	}
	mathrand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	lost = make(chan error, 1)
	c, err = natsconn.Connect(ctx, natsconn.Config{
		Servers: servers, Name: b.config.Name, Dial: b.config.Dial,
		Lost: func(err error) {
			select {
			case lost <- err:
			default:
			}
		},
		Failed: func(_ *nats.Subscription, err error) { b.failed(err) },
	})
	if err != nil {
		return nil, nil, err
	}
	if _, err := c.ChanSubscribe(b.inbox+"*", b.come); err != nil {
		c.Close()
		return nil, nil, err
	}
	b.mu.Lock()
	b.conn = c
	hears := maps.Clone(b.hears)
	b.mu.Unlock()
	for subject, h := range hears {
		b.begin(c, subject, h)
	}
	// A server that answers has taken note of all that is listened for.
	flushing, cancel := context.WithTimeout(ctx, natsconn.ConnectTimeout)
	defer cancel()
	if err := c.FlushWithContext(flushing); err != nil {
		c.Close()
		return nil, nil, natsconn.Explain(err)
	}
	b.set(directory.State{Up: true})
	return c, lost, nil
}

// down takes note that there is no connection, and why.
func (b *Bus) down(err error) {
	b.mu.Lock()
	b.conn = nil
	for _, h := range b.hears {
		h.sub = nil
	}
	b.mu.Unlock()
	b.set(directory.State{Err: err})
}

func (b *Bus) set(now directory.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = now
	close(b.changed)
	b.changed = make(chan struct{})
}

// failed is called when the servers do not take something, or something of them is lost.
func (b *Bus) failed(err error) {
	if !b.refused.Due(time.Now()) {
		return
	}
	if !natsconn.IsDenial(err) {
		b.config.Logger.Warn("something that was said on the directory is lost", "error", err)
		return
	}
	b.config.Logger.Warn("the directory's servers refuse something: this relay has to be allowed "+
		"to publish and to subscribe "+sets.Prefix+">", "error", err)
}

// dispatch leads what comes to whom it is for, until ctx ends.
func (b *Bus) dispatch(ctx context.Context) {
	for {
		select {
		case m := <-b.come:
			b.lead(m)
		case <-ctx.Done():
			return
		}
	}
}

func (b *Bus) lead(m *nats.Msg) {
	b.mu.Lock()
	replies := b.asks[m.Subject]
	h := b.hears[m.Subject]
	b.mu.Unlock()
	switch {
	case replies != nil && len(m.Data) <= sets.MaxAnswer:
		select {
		case replies <- m:
		default:
		}
	case h != nil && len(m.Data) <= sets.MaxAsk:
		h.f(m.Data, b.answerer(m.Reply))
	}
}

// answerer returns what says something to who has asked, if that is where answers are heard: who
// asks has nothing else said in this relay's name.
func (b *Bus) answerer(to string) func([]byte) {
	rest, ok := strings.CutPrefix(to, answers)
	if !ok || len(to) > maxAnswerSubject || strings.ContainsAny(rest, "*> \t\r\n") {
		return nil
	}
	return func(what []byte) { b.Tell(to, what) }
}

package daemon

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
)

// drainPoll is how often it is looked whether connections that are waited for have ended.
const drainPoll = 50 * time.Millisecond

// connections are those that are open, each of a portal. It is safe for concurrent use.
type connections struct {
	idle *idleness // set once; is told of each; never nil
	zero time.Time // that the connections' times count from

	mu    sync.Mutex
	open  map[route.Conn]*connection
	parts map[part]*counted // those that have some
}

// connection is one of them. There may be very many.
type connection struct {
	of    *connections
	to    *place // guarded by of's lock
	app   route.Conn
	id    uint64
	at    time.Duration
	leave func() // called when it has ended; nil is nothing

	opened atomic.Pointer[opened] // nil until it is
}

// opened is what there is of a connection once it is open.
type opened struct {
	stream *route.Stream
	copy   *netio.Proxy
}

// counted is a part that has connections.
type counted struct {
	part  part
	count int
	usual place             // where they lead, as its configuration says it
	led   map[string]*place // and where else some do: nil until one does
}

// place is where connections of a part lead.
type place struct {
	by    *counted
	name  string
	count int // of those that lead there, and not to the usual one
}

func newConnections() *connections {
	return &connections{
		idle: new(idleness), zero: time.Now(),
		open: make(map[route.Conn]*connection), parts: make(map[part]*counted),
	}
}

// begin takes a connection among those that are open, until its Ended is called.
func (c *connections) begin(of part, to string, app route.Conn, leave func()) *connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	by := c.parts[of]
	if by == nil {
		by = &counted{part: of}
		by.usual = place{by: by, name: to}
		c.parts[of] = by
	}
	by.count++
	c.idle.begin()
	one := &connection{
		of: c, to: &by.usual, app: app, id: route.NextConnection(), at: time.Since(c.zero),
		leave: leave,
	}
	c.open[app] = one
	return one
}

// Leads implements portal.Leader: it is known now where the connection leads. It is called once.
func (c *connection) Leads(to string) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	by := c.to.by
	at := by.led[to]
	if at == nil {
		at = &place{by: by, name: to}
		if by.led == nil {
			by.led = make(map[string]*place)
		}
		by.led[to] = at
	}
	c.to = at
	at.count++
}

// Opened implements portal.Follower.
func (c *connection) Opened(s *route.Stream, copy *netio.Proxy) {
	c.opened.Store(&opened{s, copy})
}

// Ended implements portal.Follower.
func (c *connection) Ended() {
	c.of.end(c)
	if c.leave != nil {
		c.leave()
	}
}

func (c *connections) end(one *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, one.app)
	by := one.to.by
	if one.to.count--; one.to.count == 0 {
		delete(by.led, one.to.name)
	}
	if by.count--; by.count == 0 {
		delete(c.parts, by.part)
	}
	c.idle.end()
}

// number is how many a portal has.
func (c *connections) number(of part) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if by := c.parts[of]; by != nil {
		return by.count
	}
	return 0
}

// of returns those of a portal, or all if it is nil.
func (c *connections) of(of part) []route.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []route.Conn
	for app, begun := range c.open {
		if of == nil || begun.to.by.part == of {
			all = append(all, app)
		}
	}
	return all
}

// waiting is what is known of all of them.
func (c *connections) waiting() []OpenConnection {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Since(c.zero)
	all := make([]OpenConnection, 0, len(c.open))
	for app, begun := range c.open {
		one := OpenConnection{To: begun.to.name, Open: now - begun.at}
		one.Idle, one.IdleKnown = netio.Idle(app)
		all = append(all, one)
	}
	return all
}

// left returns those of some that are still open.
func (c *connections) left(some []route.Conn) []route.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	var left []route.Conn
	for _, app := range some {
		if _, ok := c.open[app]; ok {
			left = append(left, app)
		}
	}
	return left
}

// await returns when some have ended, or ctx has, and those that are open then.
func (c *connections) await(ctx context.Context, some []route.Conn) []route.Conn {
	ticks := time.NewTicker(drainPoll)
	defer ticks.Stop()
	for {
		some = c.left(some)
		if len(some) == 0 || ctx.Err() != nil {
			return some
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
		}
	}
}

// cut resets connections.
func cut(some []route.Conn) {
	for _, app := range some {
		_ = netio.Reset(app)
	}
}

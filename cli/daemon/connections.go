package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route"
)

// drainPoll is how often it is looked whether connections that are waited for have ended.
const drainPoll = 50 * time.Millisecond

// connections are those that are open, each of a portal. It is safe for concurrent use.
type connections struct {
	mu    sync.Mutex
	open  map[route.Conn]opened
	count map[part]int
}

// opened is how a connection has begun.
type opened struct {
	by part
	to string // where it leads, as its configuration says it
	at time.Time
}

func newConnections() *connections {
	return &connections{open: make(map[route.Conn]opened), count: make(map[part]int)}
}

func (c *connections) begin(of part, to string, app route.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[app] = opened{of, to, time.Now()}
	c.count[of]++
}

func (c *connections) end(app route.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.open[app].by
	delete(c.open, app)
	if c.count[of]--; c.count[of] == 0 {
		delete(c.count, of)
	}
}

// number is how many a portal has.
func (c *connections) number(of part) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[of]
}

// of returns those of a portal, or all if it is nil.
func (c *connections) of(of part) []route.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []route.Conn
	for app, begun := range c.open {
		if of == nil || begun.by == of {
			all = append(all, app)
		}
	}
	return all
}

// waiting is what is known of all of them.
func (c *connections) waiting() []OpenConnection {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]OpenConnection, 0, len(c.open))
	for app, begun := range c.open {
		one := OpenConnection{To: begun.to, Open: time.Since(begun.at)}
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

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
	open  map[route.Conn]part
	count map[part]int
}

func newConnections() *connections {
	return &connections{open: make(map[route.Conn]part), count: make(map[part]int)}
}

func (c *connections) begin(of part, app route.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[app] = of
	c.count[of]++
}

func (c *connections) end(app route.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.open[app]
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
	for app, owner := range c.open {
		if of == nil || owner == of {
			all = append(all, app)
		}
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

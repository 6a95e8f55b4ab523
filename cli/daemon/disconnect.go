package daemon

import (
	"fmt"
	"strconv"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route"
)

// Disconnect ends the connection with a number, or all connections and sessions with the peer that
// has an Identifier, and returns how many connections that were. Whoever is trusted may come again
// at once. An error is that what is neither.
func (d *Daemon) Disconnect(what string) (ended int, err error) {
	if number, err := strconv.ParseUint(what, 10, 64); err == nil {
		return d.disconnect(
			func(c *connection) bool { return c.id == number },
			func(f route.Forwarded) bool { return f.ID == number },
		), nil
	}
	who, err := identity.ParseIdentifier(what)
	if err != nil {
		return 0, fmt.Errorf("%q is neither the number of a connection nor an Identifier", what)
	}
	is := func(s *channel.Session) bool { return s != nil && s.Peer().Identifier() == who }
	ended = d.disconnect(
		func(c *connection) bool {
			o := c.opened.Load()
			return o != nil && is(o.stream.Session())
		},
		func(f route.Forwarded) bool { return is(f.Session) },
	)
	for _, s := range d.allSites() {
		for _, m := range s.allMembers() {
			m.node.Quit(is)
		}
	}
	return ended, nil
}

// disconnect ends the connections that are selected.
func (d *Daemon) disconnect(
	own func(*connection) bool, forwarded func(route.Forwarded) bool,
) (ended int) {
	for _, s := range d.allSites() {
		ended += s.open.disconnect(own)
		for _, m := range s.allMembers() {
			ended += m.node.CutForwarded(forwarded)
		}
	}
	return ended
}

func (c *connections) disconnect(which func(*connection) bool) int {
	c.mu.Lock()
	var some []*connection
	for _, one := range c.open {
		if which(one) {
			some = append(some, one)
		}
	}
	c.mu.Unlock()
	for _, one := range some {
		if o := one.opened.Load(); o != nil {
			o.copy.Fail(route.ErrCutHere)
			continue
		}
		cut([]route.Conn{one.app})
	}
	return len(some)
}

package route

import (
	"time"

	"github.com/secureportal/sp/channel"
)

// Path is what is known of one path of a Failover.
type Path struct {
	Route   Route
	Up      bool
	Taken   bool             // new streams take it
	Since   time.Time        // when it came up, or was up last
	Session *channel.Session // with the node at its end; nil if there is none
	Err     error            // why the last attempt to get it up has failed
	Direct  DirectState      // of the session, where a relay is on the path
}

// Paths returns what is known of the paths, the best first.
func (f *Failover) Paths() []Path {
	taken, _ := f.best()
	var all []Path
	for _, h := range f.all() {
		h.mu.Lock()
		p := Path{Route: h.route, Up: h.up, Taken: h == taken, Since: h.since, Err: h.err}
		h.mu.Unlock()
		if p.Up {
			p.Session, p.Err = h.node.successor(h.route, nil), nil
			p.Direct, _ = h.node.Direct(p.Session)
		}
		all = append(all, p)
	}
	return all
}

// Sessions returns the sessions that the node has.
func (n *Node) Sessions() []*channel.Session { return n.endpoint.Sessions() }

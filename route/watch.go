package route

import (
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
)

// watch resets c when the node ends, or when what is sent on c has not arrived for three keepalives, until unwatch is
// called with it.
func (n *Node) watch(c netio.Conn) {
	n.mu.Lock()
	closed := n.links == nil
	if !closed {
		n.links[c] = struct{}{}
	}
	n.mu.Unlock()
	if closed {
		_ = netio.Reset(c) // without mu, which the close of a link in a mux needs
	}
}

// unwatch is the end of watch.
func (n *Node) unwatch(c netio.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, c)
}

// track is watch, and the returned function closes c as well.
func (n *Node) track(c netio.Conn) (untrack func()) {
	n.watch(c)
	return func() {
		n.unwatch(c)
		_ = c.Close()
	}
}

// lookAfter looks at what is watched until the node ends. Pings tell of a session that nothing comes from; this tells of
// a single connection, whose other bytes may take another way or be of another size.
func (n *Node) lookAfter() {
	look := time.NewTicker(n.config.Channel.KeepaliveInterval())
	defer look.Stop()
	for {
		select {
		case <-look.C:
			n.resetStuck()
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) resetStuck() {
	n.mu.Lock()
	watched := make([]netio.Conn, 0, len(n.links))
	for c := range n.links {
		watched = append(watched, c)
	}
	n.mu.Unlock()
	for _, c := range watched {
		if netio.Stuck(c) >= channel.MaxMissedPongs {
			n.logger.Warn("nothing that is sent arrives, and the connection is reset", "peer", c.RemoteAddr())
			_ = netio.Reset(c)
		}
	}
}

package route

import (
	"iter"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
)

// maxUnended is for how many keepalives a link stays of which the other end does not end its direction. The channel on it
// is over then: it has ends of its own.
const maxUnended = 6

// watch resets c when the node ends, or when what is sent on c has not arrived for three keepalives, until unwatch is
// called with it; link tells that c is no application's, and is not to be half closed for long.
func (n *Node) watch(c netio.Conn, link bool) {
	n.mu.Lock()
	closed := n.links == nil
	if !closed {
		n.links[c] = link
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
	n.watch(c, true)
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
	for c, link := range n.watched() {
		switch {
		case netio.Stuck(c) >= channel.MaxUnanswered:
			n.logger.Warn("nothing that is sent arrives, and the connection is reset", "peer", c.RemoteAddr())
			_ = netio.Reset(c)
		case link && netio.Unended(c) >= maxUnended:
			n.logger.Debug("the other end does not end a link, which is reset", "peer", c.RemoteAddr())
			_ = netio.Reset(c)
		}
	}
}

// watched yields what is watched, and whether it is a link, without keeping others from n meanwhile.
func (n *Node) watched() iter.Seq2[netio.Conn, bool] {
	type watched struct {
		conn netio.Conn
		link bool
	}
	n.mu.Lock()
	all := make([]watched, 0, len(n.links))
	for c, link := range n.links {
		all = append(all, watched{c, link})
	}
	n.mu.Unlock()
	return func(yield func(netio.Conn, bool) bool) {
		for _, w := range all {
			if !yield(w.conn, w.link) {
				return
			}
		}
	}
}

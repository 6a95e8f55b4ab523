package route

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
)

// linkHealth is the links that end with the node, and that are reset when nothing that is sent on
// them arrives. It has a lock of its own.
//
// Pings tell of a session that nothing comes from; this tells of a single connection, whose other
// bytes may take another way or be of another size.
type linkHealth struct {
	logger *slog.Logger
	sent   chan struct{} // gets something when something is sent on a link on which nothing was
	note   *netio.Note   // sees to that

	mu    sync.Mutex
	links map[netio.Conn]struct{} // nil once the node has been closed
}

func newLinkHealth(logger *slog.Logger) linkHealth {
	sent := make(chan struct{}, 1)
	note := &netio.Note{Do: func() {
		select {
		case sent <- struct{}{}:
		default: // run knows
		}
	}}
	return linkHealth{
		logger: logger, sent: sent, note: note, links: make(map[netio.Conn]struct{}),
	}
}

// watch resets c when the node ends, or when what is sent on c has not arrived for three
// keepalives, until unwatch is called with it.
func (h *linkHealth) watch(c netio.Conn) {
	if !h.add(c) {
		_ = netio.Reset(c) // without mu, which the close of a link in a mux needs
		return
	}
	netio.NoteSends(c, h.note)
}

func (h *linkHealth) add(c netio.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.links == nil {
		return false
	}
	h.links[c] = struct{}{}
	return true
}

// unwatch is the end of watch.
func (h *linkHealth) unwatch(c netio.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.links, c)
}

// track is watch, and the returned function closes c as well.
func (h *linkHealth) track(c netio.Conn) (untrack func()) {
	h.watch(c)
	return func() {
		h.unwatch(c)
		_ = c.Close()
	}
}

// close returns all that was watched, for the node to reset; nothing can be watched any more.
func (h *linkHealth) close() []netio.Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	links := slices.Collect(maps.Keys(h.links))
	h.links = nil
	return links
}

// run looks at all links once in an interval, as long as something is on its way on one of them,
// until ctx ends.
func (h *linkHealth) run(ctx context.Context, interval time.Duration) {
	look := time.NewTimer(interval)
	defer look.Stop()
	for {
		select {
		case <-h.sent:
		case <-ctx.Done():
			return
		}
		for sending := true; sending; {
			look.Reset(interval)
			select {
			case <-look.C:
				sending = h.resetStuck()
			case <-ctx.Done():
				return
			}
		}
	}
}

// resetStuck reports whether something is on its way on one of the links.
func (h *linkHealth) resetStuck() (sending bool) {
	h.mu.Lock()
	var stuck []netio.Conn // no list is made of all: there may be ten thousands
	for c := range h.links {
		times, some := netio.Stuck(c)
		sending = sending || some
		if times >= channel.MaxMissedPongs {
			stuck = append(stuck, c)
		}
	}
	h.mu.Unlock()
	for _, c := range stuck {
		linksStuck.Inc()
		h.logger.Warn("nothing that is sent arrives, and the connection is reset",
			"peer", c.RemoteAddr())
		_ = netio.Reset(c) // without mu, which the close of a link in a mux needs
	}
	return sending
}

package route

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/sorting"
	"github.com/secureportal/sp/route/transport"
)

// forwarded is what goes through the nodes of this process.
var forwarded = netio.NewTally("forwarder", true)

var lastConnection atomic.Uint64

// NextConnection returns a number for a connection, which no other one in this process has.
func NextConnection() uint64 { return lastConnection.Add(1) }

// forwards are the pairs of links that a node has joined. It is safe for concurrent use.
type forwards struct {
	zero time.Time // that their times count from

	mu   sync.Mutex
	open map[uint64]*forwarding
}

// forwarding is one pair. There may be very many.
type forwarding struct {
	netio.Proxy
	id      uint64
	to      string
	session *channel.Session // that it came through; nil if through none
	at      time.Duration
}

// Forwarded is what is known of a pair of links that a node has joined.
type Forwarded struct {
	ID      uint64           // see NextConnection
	From    net.Addr         // where the asker's link comes from
	Session *channel.Session // that it has come through; nil if through none
	To      string           // the name, or the address, that it leads to
	Open    time.Duration    // for how long

	// How many bytes have gone to the next node and come from it.
	Sent, Received uint64
}

func newForwards() forwards {
	return forwards{zero: time.Now(), open: make(map[uint64]*forwarding)}
}

// Forwarded returns the pairs of links that the node has joined, in the order in which it has.
func (n *Node) Forwarded() []Forwarded {
	f := &n.forwards
	f.mu.Lock()
	now := time.Since(f.zero)
	all := make([]Forwarded, 0, len(f.open))
	for _, one := range f.open {
		all = append(all, one.tell(now))
	}
	f.mu.Unlock()
	sorting.Func(all, func(a, b Forwarded) int { return int(int64(a.ID) - int64(b.ID)) })
	return all
}

func (p *forwarding) tell(now time.Duration) Forwarded {
	sent, received, _ := p.Moved()
	return Forwarded{
		ID: p.id, From: p.A.RemoteAddr(), Session: p.session, To: p.to, Open: now - p.at,
		Sent: sent, Received: received,
	}
}

// ErrCutHere says that somebody on this side has had a connection ended.
var ErrCutHere = errors.New("it was ended by hand")

// CutForwarded resets the pairs of links that which selects, and returns how many.
func (n *Node) CutForwarded(which func(Forwarded) bool) int {
	f := &n.forwards
	f.mu.Lock()
	now := time.Since(f.zero)
	var some []*forwarding
	for _, one := range f.open {
		if which(one.tell(now)) {
			some = append(some, one)
		}
	}
	f.mu.Unlock()
	for _, one := range some {
		one.Fail(ErrCutHere)
	}
	return len(some)
}

// joinTo joins the request's link and another one until both directions have ended. to says where
// that one leads.
func (q *Request) joinTo(next Conn, to string) error {
	f := &q.node.forwards
	p := &forwarding{id: NextConnection(), to: to, session: q.Session, at: time.Since(f.zero)}
	p.A, p.B, p.Tally = q.conn, next, forwarded
	f.begin(p)
	err := p.Run()
	f.end(p)
	if q.node.config.LogForwarded {
		q.node.logForwarded(p, time.Since(f.zero)-p.at, err)
	}
	return err
}

func (f *forwards) begin(p *forwarding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[p.id] = p
}

func (f *forwards) end(p *forwarding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, p.id)
}

// logForwarded says how a pair of links has ended. Who asked is known if it came through a session.
func (n *Node) logForwarded(p *forwarding, lasted time.Duration, err error) {
	about := p.tell(lasted)
	var more []any
	if s := about.Session; s != nil {
		more = append(more, "identifier", s.Peer().Identifier())
	}
	more = append(more, "source", addressText(about.From), "to", about.To,
		"sent", about.Sent, "received", about.Received,
		"lasted", lasted.Round(time.Millisecond).Seconds(), "ended", HowEnded(err))
	n.logger.Log(n.life.ctx, slog.LevelInfo, "passed on", more...)
}

// goesTo says in a word where a request leads, while that is known.
func (q *Request) goesTo() string {
	if q.address == nil {
		return ""
	}
	if q.address.IsTransport() {
		return transport.Format(*q.address)
	}
	name := strings.TrimPrefix(q.address.Name, ForwardPrefix)
	return strings.TrimPrefix(name, HeldPrefix)
}

// HowEnded says in words how a connection has ended, of whose applications one or the other may
// have had enough. Nil is that both have ended it in order.
func HowEnded(err error) string {
	switch {
	case err == nil:
		return "in order"
	case errors.Is(err, ErrCutHere):
		return "by hand, on this side"
	case errors.Is(err, channel.ErrReset):
		return "reset by the far end"
	case netio.IsReset(err):
		return "reset on this side"
	case errors.Is(err, net.ErrClosed):
		return "cut, for this side has stopped"
	}
	return err.Error()
}

package route

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/wire"
)

// A node that goes away says so in the sessions that it has, and a node to which the way goes away
// passes that on in its own. But a link that has been passed on may be of a session of which the
// node knows nothing: an open bridge's are, and those that come to a relay by another relay. There
// the far end is told, by the way that the links have gone: it is in that session, and says in it
// what there is to say. It knows which one is meant by the labels on the return route, which nobody
// knows who was not on the way.
const (
	// leavingTimeout is how long it may take to tell one far end.
	leavingTimeout = 5 * time.Second
	// leavingAtOnce is how many are told at the same time.
	leavingAtOnce = 32
	// They are told again in intervals, for about as long as a handshake that is under way may take.
	leavingInterval = time.Second
	leavingRounds   = 10
)

// passed is where links lead that a node has passed on for those who have no session with it. It
// has a lock of its own.
type passed struct {
	mu sync.Mutex
	by map[passedKey]*passedLinks
}

// passedKey is equal for links of one source that lead to the same place.
type passedKey struct {
	way     *admission.Way // that they have come by
	to      any            // what again of the links leads to
	message string         // that tells the far end
}

type passedLinks struct {
	links int // that are open
	again Again
}

// Again makes one more link to where a message was passed on. Who has closed it calls end, once.
type Again func(ctx context.Context) (link Conn, end func(), err error)

func newPassed() passed { return passed{by: make(map[passedKey]*passedLinks)} }

// begin counts a link until end is called, once.
func (p *passed) begin(k passedKey, again Again) (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.by[k]
	if !ok {
		l = &passedLinks{again: again}
		p.by[k] = l
	}
	l.links++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if l.links--; l.links == 0 {
			delete(p.by, k)
		}
	}
}

// of returns what tells those to whom links lead that have come by a way, or all if that is nil.
func (p *passed) of(way *admission.Way) map[string][]Again {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string][]Again)
	for k, l := range p.by {
		if way == nil || k.way == way {
			all[k.message] = append(all[k.message], l.again)
		}
	}
	return all
}

// ForwardTo is Forward to a place that again leads to, and to is equal for what leads to the same.
// If the asker has no session with this node, the far end is told when the node goes away, or the
// relay does that has led the link here.
func (q *Request) ForwardTo(next Conn, to any, again Again) error {
	defer q.toldOfLeaving(q.Message.Onward, to, again)()
	return q.Forward(next)
}

// toldOfLeaving has the far end of a link told when the way to it goes away, as ForwardTo says,
// until the link has ended. onward is what is left of the route to there.
func (q *Request) toldOfLeaving(onward Route, to any, again Again) (ended func()) {
	message := q.farewell(onward)
	if message == nil {
		return func() {}
	}
	return q.node.passed.begin(passedKey{q.way, to, string(message)}, again)
}

// IsLed tells whether it is a relay that has led the request's link here.
func (q *Request) IsLed() bool { return q.way != nil }

// farewell returns the message by which the far end of a link learns that the way to it goes away,
// or nil if the asker learns that in a session with this node, or nobody has one with the far end.
func (q *Request) farewell(onward Route) []byte {
	last := len(onward) - 1
	if q.Session != nil || last < 0 || onward[last].Kind != wire.Secure {
		return nil
	}
	onward = slices.Clone(onward)
	onward[last] = leavingAddress
	back := append(Route{q.node.labels.passing(q.source().String())}, passedBy(q.Message.Return)...)
	out, err := wire.AppendMessage(nil, wire.Message{Onward: onward, Return: back})
	if err != nil {
		return nil // it cannot be passed on either
	}
	return out
}

// tellPassed tells the far ends of links that have been passed on, which came by a way or, if that
// is nil, by any, that the way to this node goes away. It returns when ctx ends, or all who may not
// have been there yet have been told.
func (n *Node) tellPassed(ctx context.Context, way *admission.Way) {
	again := time.NewTicker(leavingInterval)
	defer again.Stop()
	for range leavingRounds {
		n.tellPassedOnce(ctx, way)
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) tellPassedOnce(ctx context.Context, way *admission.Way) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	free := make(chan struct{}, leavingAtOnce)
	for message, places := range n.passed.of(way) {
		for _, again := range places {
			select {
			case free <- struct{}{}:
			case <-ctx.Done():
				return
			}
			tasks.Go(func() {
				defer func() { <-free }()
				if err := tellOne(ctx, message, again); err != nil {
					n.logger.Debug("a far end could not be told that the way to it goes away",
						"error", err)
				}
			})
		}
	}
}

// tellOne says a message on one more link, and waits for the answer: nothing depends on that.
func tellOne(ctx context.Context, message string, again Again) error {
	ctx, cancel := context.WithTimeout(ctx, leavingTimeout)
	defer cancel()
	link, end, err := again(ctx)
	if err != nil {
		return err
	}
	defer end()
	defer link.Close()
	defer context.AfterFunc(ctx, func() { _ = netio.Reset(link) })()
	if _, err := io.WriteString(link, message); err != nil {
		return err
	}
	if err := link.CloseWrite(); err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, link, refuseDrain)
	if err == io.EOF {
		return nil
	}
	return err
}

// Way is which nodes have passed on an opening message, and for whom, as far as their labels tell.
type Way struct{ by by }

// WayOf returns the way that some labels on a return route stand for.
func WayOf(labels Route) Way { return Way{cameBy(labels)} }

// IsDirect tells whether none has.
func (w Way) IsDirect() bool { return w.by == by{} }

// CameBy returns the way that the request has come: for one that tells that the way goes away, the
// one that it means. It is called before the request is answered.
func (q *Request) CameBy() Way {
	if q.SaysLeaving() {
		return WayOf(q.Message.Return)
	}
	return WayOf(passedBy(q.Message.Return))
}

// SaysLeaving tells whether the request tells somebody that the way goes away by which it has come.
func (q *Request) SaysLeaving() bool {
	last := len(q.Message.Onward) - 1
	return last >= 0 && q.Message.Onward[last] == leavingAddress
}

// by is which nodes have passed on an opening message, and for whom. The zero value is none.
type by [sha256.Size]byte

// cameBy is what their labels say of that.
func cameBy(back Route) (b by) {
	if len(back) == 0 {
		return b
	}
	h := sha256.New()
	for _, a := range back {
		h.Write([]byte{byte(a.Kind), byte(len(a.Name))})
		h.Write([]byte(a.Name))
	}
	return by(h.Sum(nil))
}

// passedBy is the labels on a return route without the one of who has sent the message first, which
// is another one on each.
func passedBy(back Route) Route { return back[:max(len(back)-1, 0)] }

// saysLeaving tells whether a message that is to be passed on would say that this node goes away:
// it has come by nobody, so that it would bear this node's label alone, as this node's own does.
func saysLeaving(m wire.Message) bool {
	last := len(m.Onward) - 1
	return len(m.Return) == 0 && last >= 0 && m.Onward[last] == leavingAddress
}

var (
	leavingAddress = wire.Address{Kind: wire.Service, Name: LeavingName}
	errNotSaidHere = errors.New("only this node says that it goes away")
)

// leaving serves who says that the way goes away by which his message has come: it has taken the
// turns that those of some sessions have taken.
func (n *Node) leaving(_ context.Context, q *Request) error {
	way := cameBy(q.Message.Return)
	if err := n.admission.Handshake(q.source(), time.Now()); err != nil {
		return Refuse(wire.Busy, err.Error())
	}
	q.refuse(wire.Status{Code: wire.OK})
	if way == (by{}) {
		return nil
	}
	n.GoAway(func(s *channel.Session) bool {
		return GoesThrough(s, func(c net.Conn) bool {
			stream, ok := c.(*Stream)
			return ok && stream.asker != nil && stream.asker.by == way
		})
	})
	return nil
}

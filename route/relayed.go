package route

import (
	"context"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/wire"
)

// Relayed is what one relay leads to a node. Its links have slots of their own while they are
// unauthenticated, and come from where the relay says.
type Relayed struct {
	node *Node
	way  *admission.Way
}

// Relayed returns what the relay that goes by name leads here.
func (n *Node) Relayed(name string) *Relayed {
	return &Relayed{n, n.admission.NewWay(name, func(link any) bool {
		c, _ := link.(Conn)
		return c == nil || netio.Quiet(c)
	})}
}

// GoesAway tells those to whom the node has passed on what the relay leads here, and who have no
// session with the node, that the relay goes away. It returns when ctx ends, or all who may be
// about to begin have been told.
func (r *Relayed) GoesAway(ctx context.Context) { r.node.tellPassed(ctx, r.way) }

// Passes tells whether there is a link that GoesAway would have anybody told of.
func (r *Relayed) Passes() bool { return len(r.node.passed.of(r.way)) > 0 }

// ServeLink serves a link that the relay has led here, and closes it.
func (r *Relayed) ServeLink(link Conn) {
	defer r.node.links.track(link)()
	q := r.node.newRequest(link, nil)
	if r.enter(q) && q.readInTime() {
		r.serve(q)
	}
	q.slot.End(time.Now())
}

// ServeRequest serves a link whose opening message has been read by ReadRequest, and closes it.
func (r *Relayed) ServeRequest(link Conn, q *Request) {
	defer r.node.links.track(link)()
	if r.enter(q) {
		r.serve(q)
	}
	q.slot.End(time.Now())
}

// enter gives a link a slot, or resets it.
func (r *Relayed) enter(q *Request) bool {
	q.way = r.way
	slot, displaced, err := r.way.Enter(q.conn, q.source(), time.Now())
	q.slot = slot
	return r.entered(q, displaced, err)
}

// serve does what q asks, now that it has said where it comes from.
func (r *Relayed) serve(q *Request) {
	if r.identify(q) {
		r.node.serve(r.node.life.ctx, q)
	}
}

// identify has the request's slot be one of where it comes from, or resets the link.
//
//go:noinline
func (r *Relayed) identify(q *Request) bool {
	displaced, err := q.slot.Identify(q.source(), r.node.isOfSession(q), time.Now())
	return r.entered(q, displaced, err)
}

func (r *Relayed) entered(q *Request, displaced any, err error) bool {
	r.node.displace(displaced)
	if err == nil {
		return true
	}
	r.node.refusing.note("links: " + tooManyMute)
	if r.node.linkRefusals.Due(time.Now()) {
		r.node.logger.Warn("refusing links that a relay leads here: "+tooManyMute,
			"peer", q.conn.RemoteAddr(), "error", err)
	}
	_ = netio.Reset(q.conn)
	return false
}

// isOfSession tells whether a request says that its link belongs to a session that is here.
func (n *Node) isOfSession(q *Request) bool {
	to := q.Message.Onward
	return len(to) > 0 && to[0].Kind == wire.Secure && n.endpoint.KnowsFlow(q.ahead)
}

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

	own map[string]Handler // what the relay itself may ask for; not changed once links are served
}

// Relayed returns what the relay that goes by name leads here.
func (n *Node) Relayed(name string) *Relayed {
	return &Relayed{node: n, way: n.admission.NewWay(name, hasRead)}
}

// hasRead tells whether all that has come on a link has been read.
func hasRead(link any) bool {
	c, _ := link.(Conn)
	return c == nil || netio.Quiet(c)
}

// Answer has h serve what the relay itself asks for by a name: a message that nobody has forwarded,
// for whoever does that puts a label on it. It is called before any link is served.
func (r *Relayed) Answer(name string, h Handler) {
	if r.own == nil {
		r.own = make(map[string]Handler)
	}
	r.own[name] = h
}

// ofItself returns what serves a request of the relay's own, or nil if it is none.
func (r *Relayed) ofItself(q *Request) Handler {
	to := q.Message.Onward
	if len(q.Message.Return) > 0 || len(to) != 1 || to[0].Kind != wire.Service {
		return nil
	}
	return r.own[to[0].Name]
}

// GoesAway tells those to whom the node has passed on what the relay leads here, and who have no
// session with the node, that the relay goes away. It returns when ctx ends, or all who may be
// about to begin have been told.
func (r *Relayed) GoesAway(ctx context.Context) { r.node.tellPassed(ctx, r.way) }

// Passes tells whether there is a link that GoesAway would have anybody told of.
func (r *Relayed) Passes() bool { return len(r.node.passed.of(r.way)) > 0 }

// ServeLink serves a link that the relay has led here, and closes it. It is called on a goroutine
// of the node's, may return before the link is at its end, and calls left then.
func (r *Relayed) ServeLink(link Conn, left func()) {
	q := r.node.newRequest(link, nil)
	r.begin(q, left)
	if !r.enter(q) || !q.readInTime() || r.serve(q) {
		r.node.leave(q)
	}
}

// ServeRequest is ServeLink for a link whose opening message has been read by ReadRequest.
func (r *Relayed) ServeRequest(q *Request, left func()) {
	r.begin(q, left)
	if !r.enter(q) || r.serve(q) {
		r.node.leave(q)
	}
}

// begin has the node know of a request and its link until that is over, and left called then.
func (r *Relayed) begin(q *Request, left func()) {
	untrack, stays := r.node.links.track(q.conn), r.node.life.stay()
	q.left = func() {
		untrack()
		left()
		stays()
	}
}

// enter gives a link a slot, or resets it.
func (r *Relayed) enter(q *Request) bool {
	q.way = r.way
	slot, displaced, err := r.way.Enter(q.conn, q.source(), time.Now())
	q.slot = slot
	return r.entered(q, displaced, err)
}

// serve does what q asks, now that it has said where it comes from, and reports whether that is
// over: see Node.serve.
func (r *Relayed) serve(q *Request) (over bool) {
	if !r.identify(q) {
		return true
	}
	h := r.ofItself(q)
	if h == nil {
		return r.node.serve(r.node.life.ctx, q)
	}
	q.address = &q.Message.Onward[0]
	q.Message.Onward = nil
	err := h(r.node.life.ctx, q)
	if !q.stays {
		r.node.finish(q, err)
	}
	return !q.stays
}

// identify has the request's slot be one of where it comes from, or resets the link.
//
//go:noinline
func (r *Relayed) identify(q *Request) bool {
	known, whole := r.node.isOfSession(q)
	if whole {
		return q.slot.Heard(q.source()) // if not, it has been reset
	}
	displaced, err := q.slot.Identify(q.source(), known, time.Now())
	return r.entered(q, displaced, err)
}

// hear takes note that a link which came in from the network need say no more to prove whose it is,
// if that is so. It reports false if the link has been reset.
//
//go:noinline
func (n *Node) hear(q *Request) bool {
	_, whole := n.isOfSession(q)
	return !whole || q.slot.Heard(q.source())
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

// isOfSession tells whether a request says that its link belongs to a session that is here, and
// whether all has come that proves it, or not.
func (n *Node) isOfSession(q *Request) (known, whole bool) {
	to := q.Message.Onward
	if len(to) == 0 || to[0].Kind != wire.Secure {
		return false, false
	}
	return n.endpoint.KnowsFlow(q.ahead)
}

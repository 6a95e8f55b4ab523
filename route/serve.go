package route

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/wire"
)

// Conn is a net.Conn whose direction can be ended: what a node serves, forwards and watches.
type Conn = netio.Conn

// Request is an opening message on this node, and the link that it came on.
type Request struct {
	// Message is what was asked; Onward begins behind the service's own address.
	Message wire.Message
	// Session tells who asks. It is nil if the request did not come through a secure channel.
	Session *channel.Session

	node     *Node
	conn     netio.Conn
	ahead    []byte       // read behind the message
	address  wire.Address // what was taken off the onward route last
	counted  any          // whom the request counts for, if it does
	place    *place       // the link's, while nothing is known of it
	proven   *place       // the link's, if it is of somebody trusted
	answered bool
	unended  bool // it has been answered, and what the asker sends has not ended
}

// Accept answers that the service is there. The answer goes out with the stream's first bytes or its Flush. The message
// is gone then: the stream may live for years.
func (q *Request) Accept() *Stream {
	q.answered = true
	s := &Stream{conn: q.conn}
	if len(q.ahead) > 0 {
		s.reading.ahead = q.ahead
	}
	s.writing.out = wire.AppendStatus(nil, wire.Status{Code: wire.OK, Hop: q.ordinal()})
	s.pending.Store(true)
	q.Message, q.ahead = wire.Message{}, nil
	return s
}

// Watch resets c, which belongs to the request, when the node ends or nothing that is sent on it arrives, until Unwatch
// is called with it.
func (q *Request) Watch(c Conn) { q.node.watch(c) }

// Unwatch is the end of Watch.
func (q *Request) Unwatch(c Conn) { q.node.unwatch(c) }

// refuse answers that the service is not to be had, and gives the asker time to take that.
func (q *Request) refuse(status wire.Status) {
	q.answered = true
	status.Hop = q.ordinal()
	q.answer(status)
}

// answer sends a status and nothing else. What the asker has sent already is read and thrown away: closing a socket
// that has unread data could take the answer back.
func (q *Request) answer(status wire.Status) {
	_ = q.conn.SetDeadline(time.Now().Add(refuseTimeout))
	if _, err := q.conn.Write(wire.AppendStatus(nil, status)); err != nil {
		return
	}
	if err := q.conn.CloseWrite(); err != nil {
		return
	}
	_, err := io.CopyN(io.Discard, q.conn, refuseDrain)
	q.unended = errors.Is(err, os.ErrDeadlineExceeded)
}

// awaitEnd reads a flow that has been answered to its end, however late that comes: the asker has seen both ends by
// then, and may have sent the next flow on the same link.
func (q *Request) awaitEnd() {
	if q.unended && q.Session != nil {
		_ = q.conn.SetDeadline(time.Now().Add(refuseFlowTimeout))
		_, _ = io.CopyN(io.Discard, q.conn, refuseDrain)
	}
}

// ordinal is this node's place among those that the message has come by.
func (q *Request) ordinal() uint8 { return uint8(len(q.Message.Return)) }

// Forward sends the message on to next, and joins the two links until both directions have ended. One of the directions
// is run by aside, which returns at once and is called in any case.
func (q *Request) Forward(next Conn, aside func(direction func())) error {
	q.answered = true
	if code, err := q.pass(next); err != nil {
		aside(func() { _ = next.Close() })
		q.refuse(wire.Status{Code: code})
		return err
	}
	defer q.node.track(next)()
	return netio.Join(q.conn, next, aside)
}

// pass writes the message, with this node on the way back, and what came behind it to next.
func (q *Request) pass(next netio.Conn) (wire.Code, error) {
	m := q.Message
	m.Return = append(wire.Route{q.node.label}, m.Return...)
	out, err := wire.AppendMessage(nil, m)
	if err != nil {
		return wire.TooLong, err
	}
	_, err = next.Write(append(out, q.ahead...))
	q.Message, q.ahead = wire.Message{Return: q.Message.Return}, nil
	return wire.Unreachable, err
}

// serveLink serves a link that came in from the network. l is its place if it counts as one that nothing is known of.
func (n *Node) serveLink(conn netio.Conn, l *place) {
	defer n.track(conn)()
	q := &Request{node: n, conn: conn, place: l}
	defer q.left()
	if q.readInTime() {
		n.serve(n.ctx, q)
	}
}

// ServeLink serves a link to which the limits for strangers do not apply, and closes it.
func (n *Node) ServeLink(link Conn) { n.serveLink(link, nil) }

// serveFlow serves a flow that came in through a secure channel.
func (n *Node) serveFlow(ctx context.Context, f *channel.Flow) {
	q := &Request{node: n, conn: f, Session: f.Session()}
	if q.readInTime() {
		n.serve(ctx, q)
	}
}

// Conn returns the link that the message came on.
func (q *Request) Conn() Conn { return q.conn }

// IsFollowed tells whether bytes have come behind the message.
func (q *Request) IsFollowed() bool { return len(q.ahead) > 0 }

// ReadRequest reads an opening message from a link that this side has made, in whatever time it
// takes to come.
func (n *Node) ReadRequest(link Conn) (*Request, error) {
	q := &Request{node: n, conn: link}
	return q, q.read()
}

// Known ends that the link counts as one that nothing is known of: it counts for a peer, or for something else, or is at
// its end. Only the goroutine that serves the link calls it.
func (q *Request) Known() {
	if q.place != nil {
		q.node.endOpening(q.place)
		q.place = nil
	}
}

// proved is known for a link of somebody who is trusted.
func (q *Request) proved() {
	if q.place != nil {
		q.proven = q.place
		q.node.enterProven(q.place.from)
	}
	q.Known()
}

// left is the end of a link that came in from the network.
func (q *Request) left() {
	q.Known()
	if q.proven != nil {
		q.node.leaveProven(q.proven.from)
	}
}

// ServeRequest serves a link whose opening message has been read by ReadRequest, and closes it.
func (n *Node) ServeRequest(conn netio.Conn, q *Request) {
	defer n.track(conn)()
	n.serve(n.ctx, q)
}

// serve does what q asks. What runs below it may run for a connection's whole life, so it keeps the stack shallow:
// whatever can return before does.
func (n *Node) serve(ctx context.Context, q *Request) {
	handler, err := n.resolve(q)
	if handler != nil {
		err = handler(ctx, q)
	}
	n.finish(q, err)
}

// finish refuses what has not been answered, and says how the request ended.
func (n *Node) finish(q *Request, err error) {
	if err != nil && !q.answered {
		q.refuse(refusal(err))
	}
	if q.counted != nil {
		n.end(q.counted)
	}
	n.log(q, err)
	q.awaitEnd()
}

// log says how a request ended, if not as it should. Those who are not known cannot fill the log.
func (n *Node) log(q *Request, err error) {
	if err == nil || ctxEnded(n.ctx) || errors.Is(err, channel.ErrClosed) {
		return
	}
	level := n.short.Level(err, time.Now())
	if q.Session != nil {
		n.logger.Log(n.ctx, level, "request failed", "identifier", q.Session.Peer().Identifier(), "error", err)
		return
	}
	text, more := "link failed", []any{"peer", q.conn.RemoteAddr(), "error", err}
	due, left := false, 0
	switch {
	case linkEnded(err):
		text = "link ended"
	case level == slog.LevelWarn:
		due, left = n.strangers.Due(time.Now())
	}
	if !due {
		level = slog.LevelDebug
	}
	if left > 0 {
		more = append(more, "left out", left)
	}
	n.logger.Log(n.ctx, level, text, more...)
}

// linkEnded tells whether err is of a link itself, and no refusal.
func linkEnded(err error) bool {
	var refused *StatusError
	if errors.As(err, &refused) {
		return false
	}
	return errors.Is(err, channel.ErrCut) || errors.Is(err, channel.ErrReset) || errors.Is(err, channel.ErrGoingAway) ||
		errors.Is(err, syscall.ENOTCONN)
}

func ctxEnded(ctx context.Context) bool { return ctx.Err() != nil }

func codeOf(err error) wire.Code {
	if errors.Is(err, wire.ErrTooLong) {
		return wire.TooLong
	}
	return wire.BadMessage
}

// readInTime is readOrRefuse for one who has to be quick.
func (q *Request) readInTime() bool {
	_ = q.conn.SetReadDeadline(time.Now().Add(openingTimeout))
	ok := q.readOrRefuse()
	if ok {
		_ = q.conn.SetReadDeadline(time.Time{})
	}
	return ok
}

// readOrRefuse reads the opening message, or refuses what is none. It reports whether there is one. Who ends at once asks
// for nothing, and is told the same: a flow's link is there for the next one then.
func (q *Request) readOrRefuse() bool {
	err := q.read()
	if err == nil {
		return true
	}
	if err == io.EOF {
		_ = q.conn.CloseWrite()
	} else {
		q.node.logger.Debug("no opening message", "peer", q.conn.RemoteAddr(), "error", err)
		q.refuse(wire.Status{Code: codeOf(err)})
	}
	return false
}

// read reads the opening message, and what came with it.
func (q *Request) read() error {
	var room netio.PooledRoom
	defer room.Release()
	var b []byte
	for {
		size, err := wire.MessageSize(b)
		if err != nil {
			return err
		}
		if size > 0 && len(b) >= size {
			q.Message, err = wire.ParseMessage(b[:size:size])
			q.ahead = b[size:]
			return err
		}
		n, err := netio.ReadLazy(q.conn, &room)
		if err == io.EOF && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		b = append(b, room.Filled(n)...)
	}
}

// next takes the next address off the onward route.
func (q *Request) next() (wire.Address, bool) {
	if len(q.Message.Onward) == 0 {
		return wire.Address{}, false
	}
	a := q.Message.Onward[0]
	q.Message.Onward = q.Message.Onward[1:]
	return a, true
}

// resolve returns what serves the message's next address, or nil if there is nothing left to do.
func (n *Node) resolve(q *Request) (Handler, error) {
	if slices.Contains(q.Message.Return, n.label) {
		return nil, Refuse(wire.Loop, "the route comes back here")
	}
	a, ok := q.next()
	for ok && a.Kind == wire.Service && a.Name == HopName {
		a, ok = q.next()
	}
	q.address = a
	switch {
	case !ok:
		q.refuse(wire.Status{Code: wire.OK}) // the node itself was asked for: it is here
		return nil, nil
	case a.Kind == wire.Secure:
		return n.resolveSecure(q)
	case a.IsTransport():
		return n.resolveForward(q)
	}
	return n.resolveService(q)
}

func (n *Node) resolveSecure(q *Request) (Handler, error) {
	if q.address.Name != SecureName {
		return nil, Refuse(wire.NoService, "no secure channel named "+q.address.Name)
	}
	if len(q.Message.Onward) > 0 {
		return nil, Refuse(wire.BadMessage, "what follows a secure step is opened inside the channel")
	}
	return n.secure, nil
}

// secure answers as a secure channel's responder; what comes through the channel is served like a link of its own.
func (n *Node) secure(ctx context.Context, q *Request) error {
	return n.endpoint.Serve(ctx, q.Accept(), n.acceptName, q.proved, n.serveFlow)
}

func (n *Node) resolveForward(q *Request) (_ Handler, err error) {
	if n.config.Forward == nil || !n.config.Forward(q.address) {
		return nil, Refuse(wire.NotAllowed, "forwarding to "+HostPort(q.address)+" is not allowed here")
	}
	if err = q.begin(); err != nil {
		return nil, err
	}
	return n.forward, nil
}

// forward goes on to another node.
func (n *Node) forward(ctx context.Context, q *Request) error {
	next, err := n.dialTransport(ctx, q.address)
	if err != nil {
		return RefuseBecause(wire.Unreachable, "cannot reach "+HostPort(q.address), err)
	}
	return q.Forward(next, func(direction func()) { go direction() })
}

// resolveService finds a service of this node.
func (n *Node) resolveService(q *Request) (Handler, error) {
	s, ok, err := n.service(q.address.Name)
	if err != nil {
		return nil, err
	}
	if !ok || !s.Open && q.Session == nil {
		return nil, Refuse(wire.NoService, missing(q.address.Name))
	}
	if q.Message.Flags&wire.Probe != 0 && len(q.Message.Onward) == 0 {
		q.refuse(wire.Status{Code: wire.OK})
		return nil, nil
	}
	if s.Waits {
		return s.Handler, nil
	}
	if err = q.begin(); err != nil {
		return nil, err
	}
	return s.Handler, nil
}

// begin counts the request, until it is finished.
func (q *Request) begin() error {
	who := q.asker()
	if err := q.node.begin(who, q.Session == nil); err != nil {
		return err
	}
	q.counted = who
	q.Known()
	return nil
}

// asker is whom a request counts for: who is known, or where it comes from.
func (q *Request) asker() any {
	if q.Session != nil {
		return q.Session.Peer().Identifier()
	}
	return sourceOf(q.conn.RemoteAddr())
}

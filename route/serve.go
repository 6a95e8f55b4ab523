package route

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/wire"
)

// Request is an opening message on this node, and the link that it came on.
type Request struct {
	// Message is what was asked; Onward begins behind the service's own address.
	Message wire.Message
	// Session tells who asks. It is nil if the request did not come through a secure channel.
	Session *channel.Session

	node     *Node
	conn     netio.Conn
	ahead    []byte // read behind the message
	answered bool
}

// Accept answers that the service is there. The answer goes out with the stream's first bytes or its Flush.
func (q *Request) Accept() *Stream {
	q.answered = true
	s := &Stream{conn: q.conn}
	s.reading.ahead = q.ahead
	s.writing.out = wire.AppendStatus(nil, wire.Status{Code: wire.OK, Hop: q.ordinal()})
	s.pending.Store(true)
	return s
}

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
	_, _ = io.CopyN(io.Discard, q.conn, refuseDrain)
}

// ordinal is this node's place among those that the message has come by.
func (q *Request) ordinal() uint8 { return uint8(len(q.Message.Return)) }

// Forward sends the message on to next, and joins the two links until both directions have ended.
func (q *Request) Forward(ctx context.Context, next netio.Conn) error {
	q.answered = true
	m := q.Message
	m.Return = append(wire.Route{q.node.label}, m.Return...)
	out, err := wire.AppendMessage(nil, m)
	if err != nil {
		_ = next.Close()
		q.refuse(wire.Status{Code: wire.TooLong})
		return err
	}
	if _, err := next.Write(append(out, q.ahead...)); err != nil {
		_ = next.Close()
		q.refuse(wire.Status{Code: wire.Unreachable})
		return err
	}
	q.ahead = nil
	stop := context.AfterFunc(ctx, func() {
		_ = netio.Reset(q.conn)
		_ = netio.Reset(next)
	})
	defer stop()
	return netio.Join(q.conn, next)
}

// serveLink serves a link that came in from the network.
func (n *Node) serveLink(conn netio.Conn) {
	stop := context.AfterFunc(n.ctx, func() { _ = netio.Reset(conn) })
	defer stop()
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(openingTimeout))
	n.serve(n.ctx, conn, nil)
}

// serveRead serves a link whose opening message has been read.
func (n *Node) serveRead(conn netio.Conn, q *Request) {
	stop := context.AfterFunc(n.ctx, func() { _ = netio.Reset(conn) })
	defer stop()
	defer conn.Close()
	n.answer(n.ctx, q)
}

// serve reads the opening message on conn and does what it asks.
func (n *Node) serve(ctx context.Context, conn netio.Conn, session *channel.Session) {
	q := &Request{node: n, conn: conn, Session: session}
	if err := q.read(); err != nil {
		if err != io.EOF {
			n.logger.Debug("no opening message", "peer", conn.RemoteAddr(), "error", err)
			q.refuse(wire.Status{Code: codeOf(err)})
		}
		return
	}
	if session == nil {
		_ = conn.SetReadDeadline(time.Time{})
	}
	n.answer(ctx, q)
}

// answer does what q asks, or refuses it.
func (n *Node) answer(ctx context.Context, q *Request) {
	err := n.dispatch(ctx, q)
	if err != nil && !q.answered {
		q.refuse(refusal(err))
	}
	n.log(q, err)
}

// log says how a request ended, if not as it should.
func (n *Node) log(q *Request, err error) {
	switch {
	case err == nil, ctxEnded(n.ctx), errors.Is(err, channel.ErrClosed):
	case q.Session != nil:
		n.logger.Warn("request failed", "identifier", q.Session.Peer().Identifier(), "error", err)
	case errors.Is(err, channel.ErrCut), errors.Is(err, channel.ErrGoingAway):
		n.logger.Debug("link ended", "peer", q.conn.RemoteAddr(), "error", err)
	default:
		n.logger.Warn("link failed", "peer", q.conn.RemoteAddr(), "error", err)
	}
}

func ctxEnded(ctx context.Context) bool { return ctx.Err() != nil }

func codeOf(err error) wire.Code {
	if errors.Is(err, wire.ErrTooLong) {
		return wire.TooLong
	}
	return wire.BadMessage
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

// dispatch does what the message's next address says.
func (n *Node) dispatch(ctx context.Context, q *Request) error {
	if slices.Contains(q.Message.Return, n.label) {
		return Refuse(wire.Loop, "the route comes back here")
	}
	a, ok := q.next()
	for ok && a.Kind == wire.Service && a.Name == HopName {
		a, ok = q.next()
	}
	switch {
	case !ok:
		q.refuse(wire.Status{Code: wire.OK}) // the node itself was asked for: it is here
		return nil
	case a.IsTransport():
		return n.forward(ctx, q, a)
	case a.Kind == wire.Secure:
		return n.secure(ctx, q, a)
	}
	return n.service(ctx, q, a)
}

// forward goes on to another node, if that is allowed.
func (n *Node) forward(ctx context.Context, q *Request, a wire.Address) error {
	if n.config.Forward == nil || !n.config.Forward(a) {
		return Refuse(wire.NotAllowed, "forwarding to "+HostPort(a)+" is not allowed here")
	}
	end, err := n.Begin()
	if err != nil {
		return err
	}
	defer end()
	next, err := n.dialTransport(ctx, a)
	if err != nil {
		n.logger.Warn("next hop cannot be reached", "next", HostPort(a), "error", err)
		return Refuse(wire.Unreachable, "cannot reach "+HostPort(a))
	}
	return q.Forward(ctx, next)
}

// secure answers as a secure channel's responder; what comes through the channel is served like a link of its own.
func (n *Node) secure(ctx context.Context, q *Request, a wire.Address) error {
	if a.Name != SecureName {
		return Refuse(wire.NoService, "no secure channel named "+a.Name)
	}
	if len(q.Message.Onward) > 0 {
		return Refuse(wire.BadMessage, "what follows a secure step is opened inside the channel")
	}
	return n.endpoint.Serve(ctx, q.Accept(), n.acceptName, func(ctx context.Context, f *channel.Flow) {
		n.serve(ctx, f, f.Session())
	})
}

func noService(name string) string {
	if outlet, ok := strings.CutPrefix(name, ForwardPrefix); ok {
		return "no outlet named " + outlet
	}
	return "no service named " + name
}

// service hands the request to a service of this node.
func (n *Node) service(ctx context.Context, q *Request, a wire.Address) error {
	n.mu.Lock()
	s, ok := n.services[a.Name]
	n.mu.Unlock()
	if !ok || !s.open && q.Session == nil {
		return Refuse(wire.NoService, noService(a.Name))
	}
	if q.Message.Flags&wire.Probe != 0 && len(q.Message.Onward) == 0 {
		q.refuse(wire.Status{Code: wire.OK})
		return nil
	}
	end, err := n.Begin()
	if err != nil {
		return err
	}
	defer end()
	return s.handler(ctx, q)
}

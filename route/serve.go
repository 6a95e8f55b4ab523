package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

// serveLink serves a link that came in from the network, and closes it unless it is handed over.
// slot is its own among the unauthenticated links, and carrier that of what it came on, if that is
// one. It may return before the link is at its end, and calls left then; if that is nil it does
// not.
func (n *Node) serveLink(link netio.Conn, slot, carrier *admission.Slot, left func()) {
	n.links.watch(link)
	q := n.newRequest(link, slot)
	q.carrier, q.left = carrier, left
	q.end = endsWithRequest
	if !q.readInTime() || !n.hear(q) || n.serve(n.life.ctx, q) {
		n.leave(q)
	}
}

// serveFlow serves a flow that came in through a secure channel, and reports whether it is over. If
// not, left is called when it is; nil is that it has to be.
func (n *Node) serveFlow(ctx context.Context, f *channel.Flow, left func()) (over bool) {
	q := n.newFlowRequest(f)
	q.left = left
	if !n.beginFlow(q) {
		return true
	}
	if q.readInTime() && !n.serve(ctx, q) {
		return false
	}
	n.endFlow(q)
	return true
}

// leave is the end of a request that may have stayed.
//
//go:noinline
func (n *Node) leave(q *Request) {
	if q.Session != nil {
		n.endFlow(q)
	} else {
		q.slot.End(time.Now())
		if q.end == endsWithRequest {
			n.links.unwatch(q.conn)
			_ = q.conn.Close()
		}
	}
	if q.left != nil {
		q.left()
	}
}

// beginFlow counts a flow for its peer until endFlow, or refuses it. Like all that is done before a
// request is served or after that, it is a function of its own: see serve.
//
//go:noinline
func (n *Node) beginFlow(q *Request) bool {
	q.ask()
	status := wire.Status{Code: wire.GoingAway}
	if f, ok := q.conn.(*channel.Flow); !ok || !f.Late() {
		err := n.admission.BeginFlow(q.Session.Peer().Identifier())
		if err == nil {
			return true
		}
		n.refusing.note(err.Error())
		status = wire.Status{Code: wire.Busy, Reason: err.Error()}
	}
	q.refuse(status)
	q.awaitEnd()
	q.isAnswered()
	return false
}

//go:noinline
func (n *Node) endFlow(q *Request) {
	q.isAnswered()
	n.admission.EndFlow(q.Session.Peer().Identifier())
}

// serve does what q asks, and reports whether that is over: if not, it has stayed. What runs below
// it may run for a connection's whole life, so it keeps the stack shallow: whatever can return
// before does.
func (n *Node) serve(ctx context.Context, q *Request) (over bool) {
	handler, err := n.resolve(q)
	if handler != nil {
		q.isAnswered() // it is active by now, or may last for as long as the node does
		err = handler(ctx, q)
	}
	if q.stays {
		return false
	}
	n.finish(q, err)
	return true
}

// finish refuses what has not been answered, and says how the request ended.
func (n *Node) finish(q *Request, err error) {
	if err != nil && q.answer == unanswered {
		n.refusing.noteRefusal(err)
		q.ask()
		q.refuse(refusal(err))
	}
	if q.missed {
		n.config.Channel.Activity.End()
	}
	if !q.party.IsZero() {
		n.end(q.party)
	}
	n.log(q, err)
	q.awaitEnd()
}

// resolve returns what serves the message's next address, or nil if there is nothing left to do.
func (n *Node) resolve(q *Request) (Handler, error) {
	if slices.ContainsFunc(q.Message.Return, n.labels.made) {
		return nil, Refuse(wire.Loop, "the route comes back here")
	}
	a, ok := q.next()
	for ok && a.Kind == wire.Service && (a.Name == HopName || n.offers.stays(a.Name)) {
		a, ok = q.next()
	}
	q.address = &a
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
		const reason = "what follows a secure step is opened inside the channel"
		return nil, Refuse(wire.BadMessage, reason)
	}
	return n.secure, nil
}

// secure answers as a secure channel's responder; what comes through the channel is served like a
// link of its own.
func (n *Node) secure(ctx context.Context, q *Request) error {
	over, ok := q.Stay()
	if !ok {
		defer n.turn() // the memory of what rested on the link is free
		handle := func(ctx context.Context, f *channel.Flow) { n.serveFlow(ctx, f, nil) }
		return n.endpoint.Serve(ctx, acceptSecure(q), n.offers.accept, q.authenticated, handle)
	}
	n.endpoint.ServeThen(ctx, acceptSecure(q), n.offers.accept, q.authenticated, n.serveFlow,
		func(err error) {
			n.turn()
			over(err)
		})
	return nil
}

//go:noinline
func acceptSecure(q *Request) *Stream {
	who := &asker{q.source(), q.slot, q.ordinal(), cameBy(passedBy(q.Message.Return))}
	stream := q.Accept()
	stream.asker = who
	return stream
}

func (n *Node) resolveForward(q *Request) (_ Handler, err error) {
	if n.config.Forward != nil && !n.config.OpenForward && q.Session == nil {
		return nil, refuseStranger("forwarded to " + transport.Format(*q.address))
	}
	if n.config.Forward == nil || !n.config.Forward(*q.address) {
		return nil, Refuse(wire.NotAllowed, notForwarded(*q.address))
	}
	if err = q.begin(); err != nil {
		return nil, err
	}
	return n.forward, nil
}

// refuseStranger refuses to pass on a message that has come without a session. A stranger is not
// told what would be.
func refuseStranger(what string) error {
	why := fmt.Errorf("somebody without a channel wants to be %s", what)
	return RefuseBecause(wire.NotAllowed, "", why)
}

func notForwarded(a wire.Address) string {
	return "forwarding to " + transport.Format(a) + " is not allowed here"
}

// forward goes on to another node.
func (n *Node) forward(ctx context.Context, q *Request) error {
	source, to := q.source(), *q.address
	again := func(ctx context.Context) (Conn, func(), error) { return n.dialFor(ctx, source, to) }
	next, ended, err := again(ctx)
	if errors.Is(err, transport.ErrWithheld) {
		return RefuseBecause(wire.NotAllowed, notForwarded(*q.address), err)
	}
	if err != nil {
		return RefuseBecause(wire.Unreachable, "cannot reach "+transport.Format(*q.address), err)
	}
	defer ended()
	return q.ForwardTo(next, to, again)
}

// resolveService finds a service of this node.
func (n *Node) resolveService(q *Request) (Handler, error) {
	if !n.offers.isFor(q.address.Name, q.Session != nil) {
		return nil, refuseStranger("led to " + q.address.Name)
	}
	s, ok, err := n.offers.resolve(n.life.ctx, q.address.Name)
	if err != nil {
		return nil, err
	}
	if !ok || !s.Open && q.Session == nil {
		return nil, n.refuseMissing(q)
	}
	if q.Message.Flags&wire.Probe != 0 && len(q.Message.Onward) == 0 && !s.Asks {
		if s.Admit != nil {
			if err := s.Admit(q); err != nil {
				return nil, err
			}
		}
		q.refuse(wire.Status{Code: wire.OK})
		return nil, nil
	}
	if s.Waits {
		return s.Handler, nil
	}
	if err := q.begin(); err != nil {
		return nil, err
	}
	if !s.Open { // what is passed on may be a link on which nothing happens
		q.missed = true
		n.config.Channel.Activity.Begin()
	}
	return s.Handler, nil
}

// refuseMissing says that a service is not here. Whoever asks for one of several processes of an
// outlet would take it that this one is gone: that is for a relay to say that has seen it go.
func (n *Node) refuseMissing(q *Request) error {
	code := wire.NoService
	if _, ok := q.Instance(); ok && strings.HasPrefix(q.address.Name, ForwardPrefix) {
		code = wire.Unreachable
	}
	return Refuse(code, n.whatIsMissing(n.life.ctx, q.address.Name, q.Session != nil))
}

// log says how a request ended, if not as it should. Nobody can fill the log, trusted or not: who
// asks for what he may not have asks as often as he likes. One does not keep the others out of it.
// Who waits for something that is down asks for it again and again, which is told at once and then
// rarely.
func (n *Node) log(q *Request, err error) {
	if err == nil || ctxEnded(n.life.ctx) || errors.Is(err, channel.ErrClosed) {
		return
	}
	level := n.failures.Level(err, time.Now())
	due, since, repeats := n.dueAgain(q, err)
	if q.Session != nil {
		over := isOverLimit(err) && !n.overLimits.Due(time.Now())
		if over || !due || netio.IsReset(err) || errors.Is(err, channel.ErrGoingAway) ||
			isOrdinary(err) {
			level = slog.LevelDebug
		}
		who, omitted := q.Session.Peer().Identifier(), 0
		if level == slog.LevelWarn {
			if due, omitted = n.known.Due(who, time.Now()); !due {
				level = slog.LevelDebug
			}
		}
		more := append([]any{"identifier", who, "error", err},
			repeatFields(since, omitted+repeats)...)
		n.logger.Log(n.life.ctx, level, "request failed", more...)
		return
	}
	text, omitted := "link failed", 0
	switch {
	case linkEnded(err):
		text, due = "link ended", false
	case isOrdinary(err):
		due = false
	case level == slog.LevelWarn && due:
		due, omitted = n.anonymous.Due(n.source(q.conn.RemoteAddr()), time.Now())
	}
	if !due {
		level = slog.LevelDebug
	}
	more := []any{"peer", q.conn.RemoteAddr(), "error", err}
	if hint := n.trustHint(err); hint != "" {
		more = append(more, "hint", hint)
	}
	more = append(more, repeatFields(since, omitted+repeats)...)
	n.logger.Log(n.life.ctx, level, text, more...)
}

// trustHint says what to do about an error of trust, on either side. What else ends a link of
// somebody who is not known is his business.
func (n *Node) trustHint(err error) string {
	if n.config.Hint == nil ||
		!errors.Is(err, trust.ErrNotTrusted) && !errors.Is(err, channel.ErrLeft) {
		return ""
	}
	return n.config.Hint(err)
}

// isOverLimit tells whether err is a refusal for want of room.
func isOverLimit(err error) bool {
	var refused *StatusError
	return errors.As(err, &refused) && refused.Code == wire.Busy
}

// isOrdinary tells whether err says of itself that it is no trouble.
func isOrdinary(err error) bool {
	var ordinary interface{ Ordinary() bool }
	return errors.As(err, &ordinary) && ordinary.Ordinary()
}

// linkEnded tells whether err is of a link itself, or of what an application has done at the other
// end of it, and no refusal.
func linkEnded(err error) bool {
	var refused *StatusError
	if errors.As(err, &refused) {
		return false
	}
	return errors.Is(err, channel.ErrCut) || errors.Is(err, channel.ErrReset) ||
		errors.Is(err, channel.ErrGoingAway) || errors.Is(err, channel.ErrGone) ||
		errors.Is(err, channel.ErrNotResumed) ||
		errors.Is(err, syscall.ENOTCONN) || netio.IsReset(err)
}

func ctxEnded(ctx context.Context) bool { return ctx.Err() != nil }

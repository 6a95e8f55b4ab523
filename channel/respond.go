package channel

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/noise"
)

// Handler serves one flow. A flow that is still open when it returns is reset.
type Handler func(ctx context.Context, f *Flow)

// StayingHandler is a Handler that may report that the flow is not over when it returns: it is when
// left is called, once, by whichever goroutine.
type StayingHandler func(ctx context.Context, f *Flow, left func()) (over bool)

// Serve answers the hellos on conn, which leads to an initiator. It runs a session until that ends,
// or flows with handle, one after the other. accept decides on the name that the initiator believes
// it has reached. authenticated is called when it is known that a peer with a session has made the
// link: again for each flow, and before handle.
//
// Serve returns when the link is at its end, and closes it. The error says why it ended, unless
// that was in order. When ctx ends, so do handshakes and sessions, and flows with their sessions.
func (e *Endpoint) Serve(
	ctx context.Context, conn Conn,
	accept func(name string) error, authenticated func(), handle Handler,
) error {
	var why error
	serving := func(ctx context.Context, f *Flow, _ func()) (over bool) {
		handle(ctx, f)
		return true
	}
	e.serve(ctx, newLink(conn), accept, authenticated, serving, func(err error) { why = err })
	return why
}

// ServeThen is Serve for those who have many: it may return before the link is at its end, while
// nothing arrives on it, and calls then with what Serve returns, once. Meanwhile there is no more
// than a goroutine with the smallest of stacks. handle may leave flows to be served in the same
// way.
func (e *Endpoint) ServeThen(
	ctx context.Context, conn Conn, accept func(name string) error, authenticated func(),
	handle StayingHandler, then func(error),
) {
	l := newLink(conn)
	l.parks = true
	e.serve(ctx, l, accept, authenticated, handle, then)
}

func (e *Endpoint) serve(
	ctx context.Context, l *link, accept func(name string) error, authenticated func(),
	handle StayingHandler, then func(error),
) {
	end := func(err error) {
		_ = l.Conn.Close()
		then(err)
	}
	unguard := guard(ctx, l.Conn, e.config.handshakeTimeout())
	kind, err := l.need(1)
	switch {
	case err != nil:
		err = unguard(handshakeError(err))
	case kind[0] == helloHandshake:
		e.serveSession(ctx, l, accept, authenticated, unguard, end)
		return
	case kind[0] == helloFlow:
		v := flowServer{
			endpoint: e, ctx: ctx, link: l, authenticated: authenticated, handle: handle, then: end,
		}
		v.serve(unguard)
		return
	default:
		err = unguard(errNoHello)
	}
	l.in.drop()
	end(err)
}

// serveSession answers a handshake hello on l, whose kind has been read, and runs the session until
// it ends. Then it calls then.
func (e *Endpoint) serveSession(
	ctx context.Context, l *link, accept func(string) error, authenticated func(),
	unguard func(error) error, then func(error),
) {
	s, err := e.respond(ctx, l, accept)
	err = unguard(err)
	countHandshake(identity.Responder, err)
	if s == nil {
		l.in.drop()
		then(handshakeError(err))
		return
	}
	authenticated()
	if err != nil {
		s.end(handshakeError(err))
	}
	stop := context.AfterFunc(ctx, s.quit)
	s.attend(func() {
		stop()
		e.leave(s)
		then(s.Err())
	})
}

// respond is the responder's handshake, a step a line. The session that it returns has been
// admitted.
func (e *Endpoint) respond(
	ctx context.Context, l *link, accept func(name string) error,
) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.handshakeTimeout())
	defer cancel()
	suite, err := e.readSuite(l)
	if err != nil {
		return nil, err
	}
	message, err := l.frame()
	if err != nil {
		return nil, err
	}
	h, err := newHandshake(
		&e.config, e.static, identity.Responder, e.config.initiators(), suite, sessionID{})
	if err != nil {
		return nil, err
	}
	h.from = l.RemoteAddr()
	var answer []byte
	read := func() error { answer, err = h.answer(message); return err }
	if err := e.compute(ctx, l, true, read); err != nil {
		return nil, err
	}
	if _, err := l.Write(answer); err != nil {
		return nil, err
	}
	if message, err = l.frame(); err != nil {
		return nil, h.left(err)
	}
	refused := e.compute(ctx, l, false, func() error { return h.readProof(message) })
	if refused == nil {
		refused = accept(h.name)
	}
	if errors.Is(refused, trust.ErrNotTrusted) || refused != nil && h.peer != nil {
		return nil, h.refuse(l, refused)
	}
	if refused != nil {
		return nil, refused // nobody has proved to be anybody
	}
	return e.greet(h, suite, l)
}

// left returns why message 3 has not come. An initiator that does not trust this side ends the
// link, for nothing that it could say would be believed.
func (h *handshake) left(err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !netio.IsReset(err) {
		return err
	}
	return leftError{h.config.identity().Identifier()}
}

// answer reads message 1 and returns the frame with message 2.
func (h *handshake) answer(message []byte) ([]byte, error) {
	if err := h.readBare(message); err != nil {
		return nil, err
	}
	return appendFrame(nil, func(dst []byte) ([]byte, error) {
		return h.writeProof(dst, h.config.instance())
	})
}

// refuse tells an initiator why it gets no session, and returns what to log.
func (h *handshake) refuse(l *link, refused error) error {
	e, err := h.epoch()
	if err != nil {
		return err
	}
	c := newControl(l, func(error) {})
	c.send, _ = e.keys(h.role, 0)
	c.sendClose(refusal(refused), nil)
	e.secret.Forget()
	return h.about(refused)
}

// about returns why a session was refused, and to whom.
func (h *handshake) about(refused error) error {
	if errors.Is(refused, trust.ErrNotTrusted) {
		return refused // which says who
	}
	return fmt.Errorf("%s: %w", h.peer.Identifier(), refused)
}

// greet admits a session with the peer whose proof h has read, or tells it why not.
func (e *Endpoint) greet(h *handshake, suite noise.Suite, l *link) (*Session, error) {
	s, err := newSession(h, e.static, suite, l)
	if err != nil {
		return nil, err
	}
	s.endpoint = e
	s.keys.keep = func(epoch *epoch) { e.keep(s, epoch) }
	s.keys.drop = func(epoch *epoch) { e.drop(s, epoch) }
	if refused := e.admit(s); refused != nil {
		s.control.sendClose(refusal(refused), nil)
		s.keys.forget(refused)
		return nil, h.about(refused)
	}
	return s, nil
}

// refusal returns what to tell a far end that does not get a session because of err.
func refusal(err error) abortReason {
	switch {
	case errors.Is(err, trust.ErrNotTrusted):
		return abortNotTrusted
	case errors.Is(err, errTooMany):
		return abortBusy
	case errors.Is(err, ErrClosed):
		return abortGoingAway
	}
	return abortWrongName
}

// compute runs f, which computes for the handshake on l, when it is its turn.
func (e *Endpoint) compute(ctx context.Context, l *link, begins bool, f func() error) error {
	if e.config.Compute != nil {
		return e.config.Compute(ctx, l.Conn, begins, f)
	}
	select {
	case e.busy <- struct{}{}:
		defer func() { <-e.busy }()
		return f()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// readSuite reads the suite's name in a handshake hello.
func (e *Endpoint) readSuite(l *link) (noise.Suite, error) {
	size, err := l.need(1)
	if err != nil {
		return noise.Suite{}, err
	}
	if size[0] > maxSuiteName {
		return noise.Suite{}, fmt.Errorf("%w: suite's name of %d bytes", ErrProtocol, size[0])
	}
	name, err := l.need(int(size[0]))
	if err != nil {
		return noise.Suite{}, err
	}
	for _, suite := range e.config.suites() {
		if suite.String() == string(name) {
			return suite, nil
		}
	}
	return noise.Suite{}, fmt.Errorf("suite %q is not accepted here", name)
}

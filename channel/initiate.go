package channel

import (
	"context"
	"errors"
	"fmt"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
)

// Initiate makes a session with the far end that dial's connections lead to. name is what the
// initiator believes it reaches, MaxName bytes at most; the far end refuses a name that is not its
// own. as is what the far end is taken for. dial is called for the control link, and later for a
// link whenever no idle one is there for a new flow. It may return before the connection is known
// to work.
//
// An error wraps trust.ErrNotTrusted if either side does not trust the other (ErrRefusedByPeer if
// it is the far end that does not), and io.ErrUnexpectedEOF if the link ended.
func (e *Endpoint) Initiate(
	ctx context.Context, name string, as trust.As, dial func(ctx context.Context) (Conn, error),
) (*Session, error) {
	return e.InitiateTo(ctx, identity.Identifier{}, name, as, dial)
}

// InitiateTo is Initiate, and the far end must be the identity expect: it is refused otherwise,
// before this side has shown its own, however much it is trusted. Zero expects nobody.
func (e *Endpoint) InitiateTo(
	ctx context.Context, expect identity.Identifier, name string, as trust.As,
	dial func(ctx context.Context) (Conn, error),
) (*Session, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	l := newLink(conn)
	unguard := guard(ctx, conn, e.config.handshakeTimeout())
	s, err := e.initiate(l, expect, name, as)
	if err = unguard(err); err == nil {
		s.dial, s.endpoint = dial, e
		err = e.admit(s)
	}
	countHandshake(identity.Initiator, err)
	if err != nil {
		if s != nil { // it has its keys, and nobody else does
			s.keys.forget(err)
		}
		l.in.drop()
		_ = conn.Close()
		return nil, handshakeError(err)
	}
	go func() { // Close waits for it
		s.run()
		e.leave(s)
	}()
	return s, nil
}

// initiate is the initiator's handshake, a step a line.
func (e *Endpoint) initiate(
	l *link, expect identity.Identifier, name string, as trust.As,
) (*Session, error) {
	suite := e.config.suites()[0]
	h, err := newHandshake(&e.config, e.static, identity.Initiator, as, suite, sessionID{})
	if err != nil {
		return nil, err
	}
	h.expect, h.from = expect, l.RemoteAddr()
	if err := send(l, appendHandshakeHello(nil, suite), h.writeBare); err != nil {
		return nil, err
	}
	message, err := l.frame()
	if err != nil {
		return nil, err
	}
	if err := h.readProof(message); err != nil {
		return nil, err
	}
	prove := func(dst []byte) ([]byte, error) { return h.writeProof(dst, name) }
	if err := send(l, nil, prove); err != nil {
		return nil, err
	}
	h.name, h.instance = name, h.name
	s, err := newSession(h, e.static, suite, l)
	if err != nil {
		return nil, err
	}
	return s, s.deniedAs(h.refusedAs(s.control.awaitReady()))
}

// refusedAs says, of a refusal, whom the far end does not trust, and if that is because this side
// has an old key: a far end of the same identity has shown the newer one.
func (h *handshake) refusedAs(err error) error {
	if !errors.Is(err, ErrRefusedByPeer) {
		return err
	}
	own := h.config.identity()
	if h.peer.Identifier() == own.Identifier() && h.peer.History.Len() > own.History().Len() {
		return ErrGivenUp
	}
	return &RefusedError{h.peer.Identifier(), own.Identifier()}
}

// deniedAs says who has refused the session, where the far end has.
func (s *Session) deniedAs(err error) error {
	if !errors.Is(err, ErrRefusedByPeer) && !errors.Is(err, ErrWrongName) {
		return err
	}
	return &deniedError{error: err, peer: s.id, process: s.process}
}

// send writes prefix and a frame with what write appends.
func send(l *link, prefix []byte, write func([]byte) ([]byte, error)) error {
	b, err := appendFrame(prefix, write)
	if err != nil {
		return err
	}
	_, err = l.Write(b)
	return err
}

// awaitReady waits for the responder's word that it trusts the initiator, and has the same keys.
func (c *control) awaitReady() error {
	t, data, err := c.read()
	switch {
	case err != nil:
		return err
	case t == typeReady && len(data) == 0:
		return nil
	case t == typeAbort && len(data) == 1:
		return abortReason(data[0]).err()
	}
	return fmt.Errorf("%w: record of type %d with %d bytes in place of ready",
		ErrProtocol, t, len(data))
}

package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
)

// serveFlows answers flow hellos on l, one after the other. The kind of the first has been read.
func (e *Endpoint) serveFlows(
	ctx context.Context, l *link, authenticated func(), handle Handler, unguard func(error) error,
) error {
	for {
		f, err := e.acceptFlow(l)
		if err = unguard(err); err != nil {
			e.refuse(l, f, err)
			return err
		}
		authenticated()
		s := f.Session()
		if f.request() != nil {
			if err := e.takeOver(l, f); err != nil {
				return err
			}
		} else {
			handle(ctx, f)
			f.abort(abortReset, errFlowClosed)
			if !f.is(flowClean) {
				f.abandon()
				return f.Err()
			}
			if f.carrier() != carrier(l) {
				return nil // the flow has gone on without the link, and closed it
			}
		}
		err = s.awaitFlow(l)
		s.pool.forget(l)
		if err != nil {
			l.in.drop()
			if err == io.EOF {
				return nil
			}
			return linkError(err)
		}
		_ = l.SetReadDeadline(time.Now().Add(e.config.handshakeTimeout()))
		unguard = func(err error) error {
			_ = l.SetReadDeadline(time.Time{})
			return err
		}
	}
}

// refuse lets go of a link on which f, which may be nil, has not become a flow because of err.
func (e *Endpoint) refuse(l *link, f *Flow, err error) {
	if f != nil {
		f.Session().pool.forget(l)
		f.abandon()
	} else {
		l.in.drop()
	}
	if errors.Is(err, ErrUnknownSession) && e.config.Unknown != nil {
		e.config.Unknown(l.Conn)
	}
}

// abandon gives the input's buffer back, unless somebody whom the handler left behind still reads:
// then it is left to the garbage collector.
func (f *Flow) abandon() {
	r := &f.receiving
	if !r.TryLock() {
		return
	}
	defer r.Unlock()
	r.data = nil
	if r.err == nil {
		r.err = f.explain(ErrClosed)
	}
	r.in.drop()
}

// errTooManyResting says that the initiator keeps more links without a flow than the protocol
// allows.
var errTooManyResting = fmt.Errorf("%w: more than %d links without a flow", ErrProtocol, restingMax)

// awaitFlow waits for the next flow on l: not for long if too many links do, but long enough for an
// initiator that does not need so many to close them itself.
func (s *Session) awaitFlow(l *link) error {
	s.pool.uncount(l)
	var tooMany atomic.Bool
	if s.config.Rest != nil {
		defer s.config.Rest(s.id, func() {
			tooMany.Store(true)
			_ = l.Conn.Close()
		})()
	}
	resting := &s.pool.resting
	defer resting.Add(-1)
	if resting.Add(1) > restingMax {
		_ = l.SetReadDeadline(time.Now().Add(s.config.handshakeTimeout()))
	}
	err := l.nextFlow()
	if isTimeout(err) && resting.Load() <= restingMax {
		_ = l.SetReadDeadline(time.Time{})
		err = l.nextFlow()
	}
	switch {
	case isTimeout(err):
		return errTooManyResting
	case tooMany.Load():
		return io.EOF
	}
	return err
}

// KnowsFlow tells whether b begins with the hello of a flow of a session that is here. Whoever has
// seen the session's number can say so.
func (e *Endpoint) KnowsFlow(b []byte) bool {
	if len(b) < flowHelloSize || b[0] != helloFlow {
		return false
	}
	id, _ := parseFlowHello(b[1:])
	e.mu.RLock()
	defer e.mu.RUnlock()
	_, ok := e.epochs[id]
	return ok
}

// nextFlow waits for the next flow's hello, for as long as the session lives, and reads its kind.
func (l *link) nextFlow() error {
	kind, err := l.need(1)
	if err != nil {
		return err
	}
	if kind[0] != helloFlow {
		return errNoHello
	}
	return nil
}

// acceptFlow reads a flow's hello behind its kind, and its first record, which proves that the
// hello is no invention. Only then its number counts as used, and only a number used for the first
// time makes a flow that may send. A flow that it returns with an error is for abandon.
func (e *Endpoint) acceptFlow(l *link) (*Flow, error) {
	hello, err := l.need(flowHelloSize - 1)
	if err != nil {
		return nil, linkError(err)
	}
	id, number := parseFlowHello(hello)
	s, keys, used, err := e.lookUp(id, number)
	if err != nil {
		return nil, err
	}
	if err := s.pool.adopt(l); err != nil {
		return nil, err
	}
	f := newFlow(s, l, keys)
	if s.survive > 0 {
		f.receiving.opener = &opener{on: keys.lasting.id}
	}
	if err := f.first(); err != nil {
		return f, err
	}
	if number == 0 || !used.use(number) { // 0 is the control link's
		return f, ErrReplayed
	}
	l.resting.Store(f.receiving.ended) // true for an empty flow
	l.unauthenticated.Store(false)
	if f.request() == nil {
		f.receiving.opener = nil
		if !f.receiving.ended {
			s.outlive(f, keys.lasting)
			f.lasting.openedFirst(f)
		}
	}
	return f, nil
}

// lookUp returns the session that a hello names, and the keys of the flow.
func (e *Endpoint) lookUp(id sessionID, number uint64) (*Session, flowKeys, *numbers, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	a, ok := e.epochs[id]
	if !ok {
		return nil, flowKeys{}, nil, ErrUnknownSession
	}
	send, receive := a.epoch.keys(identity.Responder, number)
	keys := flowKeys{send: send, receive: receive, lasting: a.epoch.lasting(number)}
	return a.session, keys, a.epoch.used, nil
}

// first waits for the flow's first record and opens it.
func (f *Flow) first() error {
	r := &f.receiving
	r.Lock()
	defer r.Unlock()
	for {
		opened, err := f.openLocked(maxFirstBody)
		if opened || err != nil {
			return err
		}
		if err := f.fillLocked(); err != nil {
			return linkError(err)
		}
	}
}

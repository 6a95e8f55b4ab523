package channel

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/secureportal/sp/identity"
)

// A session is found by its keys, and not by its path: a link of it may lead to the far end by
// another way than its own one. Such a way is made while the session is there, and may break while
// it is.

// elsewhere is another way to the far end of a session. Its address tells it from others.
type elsewhere struct {
	dial func() (Conn, error)
	lost atomic.Bool
}

// isBy tells whether a link goes by w. Nil is the session's own way.
func (l *link) isBy(w *elsewhere) bool { return l.by == w }

// way returns the way by which new links go: nil is the session's own.
func (s *Session) way() *elsewhere {
	if w := s.pool.elsewhere.Load(); w != nil && !w.lost.Load() {
		return w
	}
	return nil
}

// errNotInitiator says that only who has the ways can choose one.
var errNotInitiator = errors.New("only a session's initiator makes its links")

// GoBy has the session's links made by dial from now on, once that has been shown to lead to the
// far end: an empty flow has come there and back. What goes wrong until then changes nothing. Flows
// that are open and outlive their links go over to it one by one; the others stay where they are.
// dial must not wait. When it fails, and when end is called, links are made as before; those that
// there are by dial stay until they end. Only the initiator may call it, and one way at a time is
// gone by.
func (s *Session) GoBy(ctx context.Context, dial func() (Conn, error)) (end func(), err error) {
	if s.role != identity.Initiator {
		return nil, errNotInitiator
	}
	w := &elsewhere{dial: dial}
	if err := s.proveWay(ctx, w); err != nil {
		return nil, err
	}
	s.pool.elsewhere.Store(w)
	if s.survive > 0 && !s.life.goingAway.happened() {
		s.handOver()
	}
	return func() {
		w.lost.Store(true)
		s.pool.elsewhere.CompareAndSwap(w, nil)
	}, nil
}

// proveWay has an empty flow on a link that w makes. The session's far end alone can answer it.
func (s *Session) proveWay(ctx context.Context, w *elsewhere) error {
	conn, err := w.dial()
	if err != nil {
		return err
	}
	l := newLink(conn)
	l.by = w
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	return s.emptyFlow(l)
}

// dialElsewhere makes a link by the way that the session goes by, if that is another one than its
// own and makes one.
func (s *Session) dialElsewhere() *link {
	w := s.way()
	if w == nil {
		return nil
	}
	conn, err := w.dial()
	if err != nil {
		w.lost.Store(true)
		s.pool.elsewhere.CompareAndSwap(w, nil)
		return nil
	}
	l := newLink(conn)
	l.by = w
	return l
}

// goesElsewhere tells whether the flow, which has a link, is to have one by another way.
func (s *Session) goesElsewhere(f *Flow) bool {
	w := s.way()
	if w == nil {
		return false
	}
	l, ok := f.carrier().(*link)
	return ok && !l.isBy(w)
}

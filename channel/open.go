package channel

import "context"

// Open starts a flow on a link that an earlier flow left clean, or on a new one. Only the initiator
// may call it. ctx bounds dialing only, which also ends with the session.
//
// Nothing is sent before the flow's first write. That must come soon: on a new link the far end
// waits for it no longer than its HandshakeTimeout. Until the far end has said something in the
// flow, what is sent may be sent again, on another link: see Misled. The far end takes a flow's
// number no longer than 30 s after the keys were replaced, nor after 16384 higher ones.
func (s *Session) Open(ctx context.Context) (*Flow, error) {
	s.pool.opening(1)
	defer s.pool.opening(-1)
	if err := s.answers(ctx); err != nil {
		return nil, err
	}
	l, err := s.pool.take()
	if err != nil {
		return nil, err
	}
	fresh := l == nil
	if fresh {
		if l, err = s.dialLink(ctx); err != nil {
			return nil, err
		}
	}
	f, err := s.openOn(l, false)
	if err != nil {
		_ = l.Conn.Close()
		return nil, err
	}
	if fresh {
		f.unproven.Store(new(unproven))
	}
	return f, nil
}

// dialLink makes a link, which is nobody's yet.
func (s *Session) dialLink(ctx context.Context) (*link, error) {
	if l := s.dialElsewhere(); l != nil {
		return l, nil
	}
	return s.dialOwn(ctx)
}

// dialOwn is dialLink by the session's own way.
func (s *Session) dialOwn(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life.ctx, cancel)()
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	return newLink(conn), nil
}

// openOn numbers a new flow on l.
func (s *Session) openOn(l *link, empty bool) (*Flow, error) {
	k, err := s.keys.nextFlow()
	if err != nil {
		return nil, err
	}
	if err := s.pool.add(l, empty); err != nil {
		return nil, err
	}
	f := newFlow(s, l, k)
	if !empty {
		s.outlive(f, k.lasting)
		if f.lasting != nil && s.tallies.exclude(f.lasting.id) {
			// Whoever has heard that did not find the flow.
			f.fail(ErrNeverSeen)
		}
	}
	return f, nil
}

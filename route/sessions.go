package route

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/internal/netio"
)

// sessions are a node's sessions with others as their initiator, one for each beginning of a route
// that leads to a node, and for what that node is taken for. It has a lock of its own.
type sessions struct {
	mu sync.Mutex
	by map[string]*peering // by sessionKey
}

func newSessions() sessions { return sessions{by: make(map[string]*peering)} }

// peering is the session with the node at the end of one beginning of a route, and the making of
// it.
type peering struct {
	mu      sync.Mutex
	session *channel.Session
	attempt *attempt
	gone    bool // forgotten: there may be another for the same
}

// attempt is the making of a session, for all who wait for it.
type attempt struct {
	done    chan struct{}
	session *channel.Session
	err     error
}

// lock returns the peering with what key leads to, locked.
func (s *sessions) lock(key string) *peering {
	for {
		p := s.get(key)
		p.mu.Lock()
		if !p.gone {
			return p
		}
		p.mu.Unlock()
	}
}

func (s *sessions) get(key string) *peering {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.by[key]
	if !ok {
		s.forgetLocked()
		p = new(peering)
		s.by[key] = p
	}
	return p
}

// forgetLocked forgets the sessions that have ended, and that nobody makes anew.
func (s *sessions) forgetLocked() {
	maps.DeleteFunc(s.by, func(_ string, p *peering) bool {
		if !p.mu.TryLock() { // somebody needs it
			return false
		}
		defer p.mu.Unlock()
		p.gone = p.attempt == nil && (p.session == nil || ended(p.session))
		return p.gone
	})
}

// Session returns the session with the node at r's last secure step, and makes it if it is not
// there.
func (n *Node) Session(ctx context.Context, r Route) (*channel.Session, error) {
	if err := CheckDialable(r); err != nil {
		return nil, err
	}
	segs := segments(r)
	if len(segs) < 2 {
		return nil, errors.New("the route has no /secure step")
	}
	return n.session(ctx, r, segs, len(segs)-2, nil)
}

// successor returns the session that has taken the place of another one on a route, if it is there
// already, or nil.
func (n *Node) successor(r Route, of *channel.Session) *channel.Session {
	segs := segments(r)
	p := n.sessions.lock(sessionKey(r, segs, len(segs)-2))
	defer p.mu.Unlock()
	if s := p.session; s != nil && s != of && usable(s) {
		return s
	}
	return nil
}

// retire has the session of a route, if it is there, end when its flows have.
func (n *Node) retire(r Route) {
	if s := n.successor(r, nil); s != nil {
		s.Retire()
	}
}

func (n *Node) openFlow(
	ctx context.Context, r Route, segs []Route, k int,
) (netio.Conn, error) {
	session, err := n.session(ctx, r, segs, k-1, nil)
	if err != nil {
		return nil, err
	}
	f, err := session.Open(ctx)
	if err == nil || ctx.Err() != nil {
		return asConn(f, err)
	}
	failed := (*DialError)(nil)
	moved := errors.As(err, &failed) && failed.moved
	if !moved && !ended(session) {
		return nil, err
	}
	// Whoever is there takes no new links, while what the session has goes on; or the session has
	// ended just now, perhaps for having been asked whether anybody is there.
	session, anew := n.session(ctx, r, segs, k-1, session)
	switch {
	case anew == nil:
		return asConn(session.Open(ctx))
	case moved:
		return nil, err
	default:
		return nil, anew
	}
}

// asConn keeps a flow that is nil from becoming a conn that is none.
func asConn(f *channel.Flow, err error) (netio.Conn, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// session returns the session with the node that segments 0 to k lead to, but for one that is not
// wanted any more, which ends when its flows have. Who comes while it is being made waits for the
// same one.
func (n *Node) session(
	ctx context.Context, r Route, segs []Route, k int, unwanted *channel.Session,
) (*channel.Session, error) {
	p := n.sessions.lock(sessionKey(r, segs, k))
	if s := p.session; s != nil && s != unwanted && usable(s) {
		p.mu.Unlock()
		return s, nil
	}
	if p.attempt == nil {
		p.attempt = &attempt{done: make(chan struct{})}
		r = slices.Clone(r) // the caller's own, which links need for as long as the session is there
		segs = segments(r)
		if !n.Go(func() { n.attempt(p, r, segs, k) }) {
			p.attempt = nil
			p.mu.Unlock()
			return nil, net.ErrClosed
		}
	}
	a := p.attempt
	p.mu.Unlock()
	select {
	case <-a.done:
		return a.session, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// sessionKey is equal where the session with the node that segments 0 to k lead to is the same: the
// way is, and what the node is taken for.
func sessionKey(r Route, segs []Route, k int) string {
	role := takenFor(segs, k).Role
	return Format(r[:length(segs[:k+1])]) + string('0'+rune(role))
}

// attempt makes p's session.
func (n *Node) attempt(p *peering, r Route, segs []Route, k int) {
	way := &sessionWay{node: n, r: r, segs: segs, k: k}
	session, err := n.met(way)
	var foreign *ForeignError
	if errors.As(err, &foreign) {
		err = foreign
	} else if status := (*StatusError)(nil); errors.As(err, &status) {
		err = way.gone(status)
	} else if forwardName(segs[:k+1]...) == "" && errors.Is(err, channel.ErrWrongName) {
		err = fmt.Errorf("%w: %w", err, ErrByName)
	}
	if err == nil {
		led := *way.led.Load()
		session.SetRoute(Format(led[:len(led)-len(r)+length(segs[:k+1])]))
		n.resumable(session, way)
		n.directs.mayMake(session, segs, k)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.attempt
	p.attempt = nil
	if err == nil {
		if p.session != nil {
			session.Follows(p.session)
			p.session.Retire()
		}
		p.session = session
	}
	a.session, a.err = session, err
	close(a.done)
}

// met makes a session. Where anybody may have answered who uses the same queue, and was not who was
// meant, it asks once more: what a stranger has said is not the last word then.
func (n *Node) met(way *sessionWay) (*channel.Session, error) {
	session, err := n.onThisNetwork(way.initiate)
	if way.k > 0 {
		return session, err
	}
	first := way.r[0]
	if err != nil && n.transports.Doubt(first) && n.life.ctx.Err() == nil {
		session, err = n.onThisNetwork(way.initiate)
	}
	if err == nil {
		n.transports.Proved(first)
	} else {
		n.transports.Doubt(first)
	}
	return session, err
}

// usable tells whether new flows may be opened in s.
func usable(s *channel.Session) bool {
	select {
	case <-s.Done():
		return false
	case <-s.GoingAway():
		return false
	default:
		return true
	}
}

// ended tells whether s takes no new flows any more. Whoever was refused one because of that is
// told so at once, where Done may come a moment later.
func ended(s *channel.Session) bool { return s.Err() != nil }

func length(segs []Route) (sum int) {
	for _, s := range segs {
		sum += len(s)
	}
	return sum
}

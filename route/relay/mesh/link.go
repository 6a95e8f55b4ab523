package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// link is a flow with another node, made by either. As long as one lives, the node is in the list.
type link struct {
	stream *route.Stream
	peer   set.NodeID
	at     route.Address // where this node has dialed the other; zero if that one has dialed
	wake   chan struct{} // gets something when the other is to be told of names
	knows  bool          // the other knows this node as it is now; for hear

	mu    sync.Mutex
	names map[string]bool // of which the other is to be told whose they are
}

// tell has the other node told whose a name is.
func (l *link) tell(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names[name] = true
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// takeNames returns the names of which the other node is to be told, once.
func (l *link) takeNames() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := l.names
	l.names = make(map[string]bool)
	return names
}

var (
	errSelf = errors.New("it is this node")
	errCopy = errors.New("another process answers with this relay's identity: " +
		"each relay of a set needs a key of its own")
)

// serveMember serves a link that another node has made.
func (m *Mesh) serveMember(ctx context.Context, q *route.Request) error {
	peer := q.Session.Peer()
	_, err := m.config.Node.Trust().Check(peer, trust.As{Role: trust.Member}, time.Now())
	if err != nil {
		return route.RefuseBecause(wire.NotTrusted, "", err)
	}
	s := q.Accept()
	s.Background()
	if err := s.Flush(); err != nil {
		return err
	}
	return m.carry(ctx, s, m.config.Node.Trust(), q.Session, route.Address{})
}

// join makes a link to the node at an address, and returns when it has ended, and who that was.
func (m *Mesh) join(ctx context.Context, at route.Address) (lived time.Duration, err error) {
	to := route.Route{
		at, {Kind: wire.Secure, Name: route.SecureName}, {Kind: wire.Service, Name: route.MemberName},
	}
	joining, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	session, err := m.config.Dial.Session(joining, to)
	if err != nil {
		return 0, err
	}
	if set.NodeIDOf(session.Peer().Identifier()) == m.id {
		return 0, m.meetSelf(joining, session, at)
	}
	now := time.Now()
	_, err = m.config.Dial.Trust().Check(session.Peer(), trust.As{Role: trust.Member}, now)
	if err != nil {
		return 0, err
	}
	s, err := m.config.Dial.OpenAndAwait(joining, to, 0, nil)
	if err != nil {
		return 0, err
	}
	s.Background()
	m.reached(at)
	err = m.carry(ctx, s, m.config.Dial.Trust(), session, at)
	return time.Since(now), err
}

// meetSelf takes note of whether it is this node that answers at an address with its identity, or
// another process that has a copy of its key.
func (m *Mesh) meetSelf(ctx context.Context, session *channel.Session, at route.Address) error {
	defer session.Retire()
	if _, err := session.Ping(ctx); err != nil { // from then on the other end has the session too
		return err
	}
	if !slices.ContainsFunc(m.config.Node.Sessions(), session.IsFarEndOf) {
		return errCopy
	}
	m.isSelf(at)
	return errSelf
}

// isSelf takes note that this node is at an address, for others as well, unless it has been said
// where it is.
func (m *Mesh) isSelf(at route.Address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.config.Addresses) > 0 || len(m.self.Addresses) >= set.MaxAddresses {
		return
	}
	m.self.Addresses = append(m.self.Addresses[:len(m.self.Addresses):len(m.self.Addresses)], at)
	m.self.Epoch++
	m.rebuildLocked()
}

// carry says to another node what this one knows, and hears it, until that ends or the other is
// trusted no more as a member. Its session may go on then: it may claim names, or ask for them.
func (m *Mesh) carry(
	ctx context.Context, s *route.Stream, trusted channel.Trust, session *channel.Session,
	at route.Address,
) error {
	l := &link{
		stream: s, peer: set.NodeIDOf(session.Peer().Identifier()), at: at,
		wake: make(chan struct{}, 1), names: make(map[string]bool),
	}
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	defer m.lost(l)
	tasks.Go(func() {
		if err := awaitDistrust(ctx, trusted, session); err != nil {
			m.logger.Warn("a relay of the set is none any more", "id", l.peer, "error", err)
			cancel()
		}
	})
	tasks.Go(func() {
		defer s.Close()
		if err := m.say(ctx, l); err != nil && ctx.Err() == nil {
			m.logger.Debug("a relay of the set is not told", "id", l.peer, "error", err)
		}
	})
	return m.hear(l)
}

// awaitDistrust returns why the far end of a session is trusted no more as a member, or nil when
// ctx or the session has ended.
func awaitDistrust(ctx context.Context, trusted channel.Trust, session *channel.Session) error {
	for {
		decided, changed := session.Decided(), trusted.Changed()
		d, err := trusted.Check(session.Peer(), trust.As{Role: trust.Member}, time.Now())
		if err != nil {
			return err
		}
		var over <-chan time.Time
		if !d.Until.IsZero() {
			over = time.After(time.Until(d.Until))
		}
		select {
		case <-decided:
		case <-changed:
		case <-over:
		case <-session.Done():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// say sends each list to another node, and whose the names are that it is to know of: all of them
// whenever the list changes, and before they are forgotten.
func (m *Mesh) say(ctx context.Context, l *link) error {
	again := time.NewTicker(set.Refresh)
	defer again.Stop()
	var said *set.List
	for {
		changed, all := m.Changed(), false
		if now := m.List(); now != said {
			said, all = now, true
			b, err := now.AppendTo(nil)
			if err != nil {
				return err
			}
			if err := l.write(kindList, b); err != nil {
				return err
			}
		}
		if err := m.sayRecords(l, all); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-l.wake:
		case <-again.C:
			said = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *Mesh) sayRecords(l *link, all bool) error {
	records := m.records(l.peer, l.takeNames(), all)
	if all && len(records) == 0 {
		b, err := set.AppendRecords(nil, nil) // the other one may wait for them
		if err != nil {
			return err
		}
		return l.write(kindRecords, b)
	}
	for some := range slices.Chunk(records, set.MaxRecords) {
		b, err := set.AppendRecords(nil, some)
		if err != nil {
			return err
		}
		if err := l.write(kindRecords, b); err != nil {
			return err
		}
	}
	return nil
}

func (l *link) write(kind byte, what []byte) error {
	_ = l.stream.SetWriteDeadline(time.Now().Add(sayTimeout))
	_, err := l.stream.Write(appendFrame(nil, kind, what))
	return err
}

// hear reads what another node says until it ends.
func (m *Mesh) hear(l *link) error {
	for {
		kind, what, err := readFrame(l.stream)
		if err == nil {
			err = m.take(l, kind, what)
		}
		if err != nil {
			return err
		}
	}
}

// take takes what another node has said. What is of a version that says more is left out.
func (m *Mesh) take(l *link, kind byte, what []byte) error {
	switch kind {
	case kindList:
		list, err := set.ParseList(what)
		if err != nil {
			return err
		}
		l.knows = m.isKnownIn(list)
		return m.learn(l, list)
	case kindRecords:
		records, err := set.ParseRecords(what)
		if err != nil {
			return err
		}
		m.hearOf(l, records)
		if l.knows {
			m.hasTold(l.peer)
		}
	}
	return nil
}

// learn takes what another node says of itself, and whom it has met. Who those are they say
// themselves.
func (m *Mesh) learn(l *link, list *set.List) error {
	node, _ := list.Find(l.peer) // nothing, if it does not know yet where it is
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[l.peer]
	if p == nil {
		if len(m.peers) >= set.MaxNodes {
			m.forgetLocked()
		}
		if len(m.peers) >= set.MaxNodes {
			return fmt.Errorf("a set has at most %d nodes", set.MaxNodes)
		}
		p = &peer{links: make(map[*link]struct{})}
		m.peers[l.peer] = p
	}
	if _, known := p.links[l]; !known {
		if len(p.links) == 0 {
			m.logger.Info("met a relay of the set", "id", l.peer)
		}
		p.links[l] = struct{}{}
	}
	p.node = node
	m.rebuildLocked()
	if m.learnAddressesLocked(list) {
		m.tellLocked()
	}
	return nil
}

// isKnownIn tells whether a list has this node as it is now: whoever has it so tells it of all
// names that are at home here.
func (m *Mesh) isKnownIn(list *set.List) bool {
	n, ok := list.Find(m.id)
	m.mu.Lock()
	defer m.mu.Unlock()
	return ok && n.Epoch == m.self.Epoch
}

// learnAddressesLocked takes note of where nodes may be, and tells whether some are new.
func (m *Mesh) learnAddressesLocked(list *set.List) (more bool) {
	for _, n := range list.Nodes {
		for _, a := range n.Addresses {
			if n.ID != m.id && !m.learned[a] && len(m.learned) < set.MaxNodes*set.MaxAddresses {
				m.learned[a] = true
				more = true
			}
		}
	}
	return more
}

// lost takes note that a link has ended.
func (m *Mesh) lost(l *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[l.peer]
	if p == nil {
		return
	}
	if _, known := p.links[l]; !known {
		return
	}
	delete(p.links, l)
	if len(p.links) > 0 {
		return
	}
	m.logger.Info("lost a relay of the set", "id", l.peer)
	p.lost = time.Now()
	m.tellLocked() // somebody may dial
	time.AfterFunc(lingers, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.forgetLocked()
		m.rebuildLocked()
	})
}

// forgetLocked forgets the nodes that have been lost for long.
func (m *Mesh) forgetLocked() {
	for id, p := range m.peers {
		if len(p.links) == 0 && time.Since(p.lost) >= lingers {
			delete(m.peers, id)
		}
	}
}

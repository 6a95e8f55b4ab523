// Package relay lets outlets be reached that nobody can dial. An outlet dials a relay and claims a
// name there (Client); inlets ask the relay for that name, and it joins their links with links to
// the outlet (Server). Where names are, is the Directory's affair.
//
// A relay has two ways to an outlet. Standby links are connections that the outlet has made before
// anybody needed them: a relay joins an inlet's with one of them, and bytes stay in the kernel. The
// mux is the connection that the claim was made on, and always there; its bytes are sealed and
// opened once more, between outlet and relay. So a relay that lacks a standby link asks for one,
// and waits a little before it falls back on the mux.
//
// A relay sees ciphertext. It decides who may claim a name, and it never learns who asks for one,
// nor what is said: inlet and outlet authenticate each other end to end.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/mux"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// ServerConfig says whom a relay serves. The zero value is the default.
type ServerConfig struct {
	// Private leads to names only what comes through a session with a peer that is trusted.
	Private bool

	// Directory knows where names are. Nil means a Memory of its own, with the default limits.
	Directory Directory

	// List returns the nodes of the set that the relay is one of, for whoever asks; outlets are told
	// that they may. Nil is that it is none of a set.
	List func() *set.List
}

// Server is what makes a node a relay. It lives as long as its node, and is safe for concurrent
// use.
type Server struct {
	node      *route.Node
	logger    *slog.Logger
	directory Directory
	list      func() *set.List // nil: it is none of a set
	budget    *mux.Budget      // of the muxes of all leases

	mu     sync.Mutex
	leases map[keyID]*Lease // that standby links may belong to
	vigils map[*vigil]struct{}

	ended endedKeys

	left left // of processes that shared names

	watchesTrust bool
}

// NewServer makes n a relay. Whom n trusts as the outlet of a name may claim that, and everybody
// may ask for one, or those only whom n trusts. n takes those who come for trust.Caller: what they
// are to be is not known before.
func NewServer(n *route.Node, c ServerConfig) *Server {
	s := &Server{
		node: n, logger: n.Logger(), directory: c.Directory, list: c.List,
		budget: mux.NewBudget(muxesBudget),
		leases: make(map[keyID]*Lease), vigils: make(map[*vigil]struct{}),
	}
	if s.directory == nil {
		s.directory = NewMemory(MemoryConfig{})
	}
	n.Offer(RegisterName, route.Service{Handler: s.register, Waits: true})
	n.Offer(StandbyName, route.Service{Handler: s.standby, Open: true, Waits: true})
	n.Offer(route.ObservedName, route.Service{Handler: observed, Open: !c.Private, Waits: true})
	n.Offer(route.NodesName, route.Service{Handler: s.nodes, Open: !c.Private})
	n.Resolve(route.ForwardPrefix, !c.Private, s.resolve)
	n.Resolve(route.HeldPrefix, !c.Private, s.resolveHeld)
	n.Resolve(route.SharedPrefix, !c.Private, s.resolveShared)
	return s
}

// resolve finds what serves the links that inlets ask for by a name.
func (s *Server) resolve(ctx context.Context, name string) (none route.Service, err error) {
	a, err := s.directory.Lookup(ctx, name)
	switch {
	case err != nil:
		return none, notNow(name, err)
	case a.Where == Here && a.Lease != nil:
		return route.Service{Handler: s.leads(a)}, nil
	case a.Where == Elsewhere && len(a.Routes) > 0:
		to := route.Format(a.Routes[0])
		return none, route.Refuse(wire.NoService, "the outlet "+name+" is at "+to)
	case a.Where == PassOn && (len(a.Routes) > 0 || a.More != nil):
		return route.Service{Asks: true, Handler: func(ctx context.Context, q *route.Request) error {
			return s.passOn(ctx, q, name, a)
		}}, nil
	}
	return s.nobody(name, route.ForwardPrefix), nil
}

// resolveHeld finds what serves the links that other relays pass on by a name.
func (s *Server) resolveHeld(ctx context.Context, name string) (none route.Service, err error) {
	a, err := s.directory.Lookup(ctx, name)
	switch {
	case err != nil:
		return none, notNow(name, err)
	case a.Where == Here && a.Lease != nil:
		return route.Service{Handler: s.leads(a)}, nil
	}
	return s.nobody(name, route.HeldPrefix), nil
}

// nobody answers for a name that nobody has, where processes have been seen to leave it. Otherwise
// it is none: the node says so.
func (s *Server) nobody(name, prefix string) (none route.Service) {
	if !s.left.knows(name) {
		return none
	}
	return route.Service{Asks: true, Handler: func(_ context.Context, q *route.Request) error {
		if of, ok := q.Instance(); ok {
			return s.absent(name, of)
		}
		return route.RefuseMissing(prefix + name)
	}}
}

func notNow(name string, why error) error {
	return route.RefuseForNow("the relay cannot say now where "+name+" is", why)
}

// held returns the address of a name on a relay that is not to pass on.
func held(name string) wire.Address {
	return wire.Address{Kind: wire.Service, Name: route.HeldPrefix + name}
}

// register serves an outlet's claim, for as long as the lease is ready.
func (s *Server) register(ctx context.Context, q *route.Request) error {
	c, err := parseClaim(q.Message.Payload)
	if err != nil {
		return err
	}
	if _, err := judge(s.node.Trust().Accept, q.Session, c.name); err != nil {
		return route.RefuseBecause(wire.NotTrusted, "", err)
	}
	l, err := newLease(c, q.Session)
	if err != nil {
		return err
	}
	release, err := s.claim(ctx, l)
	if err != nil {
		return err
	}
	return s.hold(q, &holding{server: s, lease: l, release: release})
}

// judge tells whether, and until when, the peer of a session may have a name. It asks with a method
// of channel.Trust.
func judge(
	ask func(*identity.Peer, trust.As, time.Time) (trust.Decision, error),
	session *channel.Session, name string,
) (trust.Decision, error) {
	d, err := ask(session.Peer(), trust.As{Role: trust.Outlet, Name: name}, time.Now())
	if err != nil {
		return d, fmt.Errorf("no claim of the name %s: %w", name, err)
	}
	return d, nil
}

// claim gives l its name, and its standby links to l, until release is called.
func (s *Server) claim(ctx context.Context, l *Lease) (release func(), err error) {
	giveBack, err := s.directory.Claim(ctx, l)
	if err != nil {
		return nil, err
	}
	s.addKey(l)
	leasesNow.Inc()
	return func() {
		leasesNow.Dec()
		giveBack()
		s.removeKey(l)
	}, nil
}

func (s *Server) addKey(l *Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[l.key.id] = l
}

// nodes tells whoever asks which relays there are in the set; of none, an empty list.
func (s *Server) nodes(_ context.Context, q *route.Request) error {
	list := &set.List{}
	if s.list != nil {
		list = s.list()
	}
	b, err := list.AppendTo(nil)
	if err != nil {
		return err
	}
	return tell(q, b)
}

// tell answers a question whose asker says nothing more.
func tell(q *route.Request, b []byte) error {
	stream := q.Accept()
	_ = stream.SetDeadline(time.Now().Add(nodesTimeout))
	if _, err := stream.Write(b); err != nil {
		return err
	}
	if err := stream.CloseWrite(); err != nil {
		return err
	}
	// The asker's end comes last. Without it the link would be cut under what he uses it for next.
	_, err := io.Copy(io.Discard, io.LimitReader(stream, 1))
	return err
}

// TellNodes tells all outlets that the list of nodes has changed, one after another, at a pace at
// which their questions can be answered. It returns when it has told them, or ctx ends.
func (s *Server) TellNodes(ctx context.Context) {
	s.mu.Lock()
	leases := slices.Collect(maps.Values(s.leases))
	s.mu.Unlock()
	pace := time.NewTicker(tellPause)
	defer pace.Stop()
	for i, l := range leases {
		if i%tellAtOnce == tellAtOnce-1 {
			select {
			case <-pace.C:
			case <-ctx.Done():
				return
			}
		}
		s.node.Go(func() { l.demand(demandNodes) })
	}
}

func (s *Server) removeKey(l *Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, l.key.id)
	s.ended.add(l.key)
}

// Why a lease ends although its outlet is there.
var (
	errClaimedAnew = errors.New("its identity has claimed the name anew")
	errNameLost    = errors.New("the directory does not know the lease any more")
)

// whenOver returns a channel on which something comes when a decision ends by itself.
func whenOver(d trust.Decision) <-chan time.Time {
	if d.Until.IsZero() {
		return nil
	}
	return time.After(time.Until(d.Until))
}

// checkHeld tells whether l still has its name. A directory that does not know now is not asked to
// know.
func (s *Server) checkHeld(ctx context.Context, l *Lease) error {
	a, err := s.directory.Lookup(ctx, l.name)
	switch {
	case err != nil, a.has(l):
		return nil
	case a.Where == Nobody, a.Where == PassOn:
		return errNameLost
	}
	return errClaimedAnew
}

// leaveBehind resets the links in use of a lease that has ended, if its outlet has left them
// behind: who uses them would not learn of that before long.
func (s *Server) leaveBehind(l *Lease) {
	if s.isLeftBehind(l) {
		s.logger.Info("links to where the outlet was are reset", "name", l.name,
			"identifier", l.owner, "source", l.source())
		l.used.reset()
	}
}

// isLeftBehind tells whether the outlet of a lease has claimed the name anew, and is not any more
// where it was: nothing comes from there. What has been said on its links is said again on others.
// Where it would not be, or the outlet is still there, they may live, and are not left behind.
func (s *Server) isLeftBehind(l *Lease) bool {
	a, err := s.directory.Lookup(context.Background(), l.name)
	next := a.of(l)
	if err != nil || next == nil {
		return false
	}
	return next.owner == l.owner && next.instance == l.instance && next.outlives &&
		next.session != l.session && l.isSilent()
}

// outlive resets the links in use of a lease that has ended when its owner may not have the name
// any more, by what he has presented last, or has left them behind. It returns when none is in use,
// or the node is closed.
func (s *Server) outlive(l *Lease) {
	forget := func() {}
	defer func() { forget() }()
	trusted := s.node.Trust()
	var moved <-chan struct{}
	for session := l.session; ; {
		if moved == nil && l.wasSilent() {
			now := make(chan struct{})
			forget = s.directory.Watch(l.name, func() { close(now) })
			moved = now
			s.leaveBehind(l)
		}
		session = s.lastSession(l, session)
		changed := trusted.Changed()
		decision, err := judge(trusted.Check, session, l.name)
		if err != nil {
			l.used.reset()
		}
		if l.used.endIfNone() {
			return
		}
		select {
		case <-moved:
			moved = nil
		case <-changed:
		case <-whenOver(decision):
		case <-l.used.removed:
		case <-s.node.Done():
			return
		}
	}
}

// lastSession returns the session of the newest claim here of l's name by l's owner, or before if
// there is none.
func (s *Server) lastSession(l *Lease, before *channel.Session) *channel.Session {
	a, err := s.directory.Lookup(context.Background(), l.name)
	if now := a.of(l); err == nil && now != nil && now.owner == l.owner {
		return now.session
	}
	return before
}

// standby parks an outlet's link until it is used.
func (s *Server) standby(_ context.Context, q *route.Request) error {
	l, number, err := s.verify(q.Message.Payload)
	if err != nil {
		return err
	}
	q.FreeSlot()
	if q.IsFollowed() {
		return route.Refuse(wire.BadMessage, "a spare link speaks when it is spoken to")
	}
	p := newParked(q.Conn())
	// Before the answer: who repeats this link may do so as soon as he has seen that.
	first := l.parked.spend(number)
	if err := q.Accept().Flush(); err != nil {
		return err
	}
	if !first || !l.parked.park(p) {
		return nil
	}
	if l.parked.sleep(p) && !q.HandOver() {
		p.awaitOver()
	}
	return nil
}

// errNoLease is the relay's own affair: who asks is told nothing.
var errNoLease = errors.New("standby link of a lease that is not there, or whose proof is wrong")

// verify finds the lease that a standby link's payload proves to belong to.
func (s *Server) verify(payload []byte) (*Lease, uint64, error) {
	refused := route.RefuseBecause(wire.NotTrusted, "", errNoLease)
	id, number, ok := parseProof(payload)
	if !ok {
		return nil, 0, refused
	}
	s.mu.Lock()
	l, ok := s.leases[id]
	s.mu.Unlock()
	switch {
	case ok && l.key.verifies(payload, number):
		return l, number, nil
	case s.ended.verifies(payload, id, number):
		return nil, 0, route.RefuseBecause(wire.NotTrusted, "", errLeaseOver)
	}
	return nil, 0, refused
}

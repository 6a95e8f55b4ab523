package relay

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/mux"
	"github.com/secureportal/sp/wire"
)

// A relay has two services for outlets:
//
//	register, inside a secure channel   payload: kind (1) | name; the answer goes on with a ticket, and then the stream
//	                                    is a mux. The relay opens the first link in it and writes a byte there for
//	                                    each spare link it lacks, and another one when the same identity has claimed
//	                                    the name anew; any other is a link for an inlet.
//	spare, on a link of its own         payload: id (16) | number (8) | MAC (16); after the answer the link waits for
//	                                    the relay to open something on it
//
//	kind   = 0 there are spare links, 1 the mux is all there is
//	ticket = id (16) | key (32)         MAC = HMAC-SHA256(key, id | number)[:16]
//
// and one for inlets, forward_to_NAME, which takes a spare link, sends the message on, and joins the two links. Bytes
// between two spare links stay in the kernel; those in the mux are sealed and opened once more, by the relay. So a relay
// that lacks a spare link asks for one and waits a little before it falls back on the mux.
const (
	RegisterName = "register"
	SpareName    = "spare"

	ticketIDSize  = 16
	ticketKeySize = 32
	ticketSize    = ticketIDSize + ticketKeySize
	spareMACSize  = 16

	withSpares = 0 // kinds of registration
	muxOnly    = 1

	sparePayload = ticketIDSize + 8 + spareMACSize
)

// Limits of a relay.
const (
	DefaultRegistrations    = 10_000        // names on a relay
	DefaultNamesPerIdentity = 64            // names of one identity
	minSpares               = 4             // waiting links that nobody needs
	maxSpares               = 64            // waiting links of one registration
	maxWaiting              = 2 * maxSpares // of them that an outlet makes, those that the relay does not answer included
	spareWindow             = 64            // numbers by which one spare link may be overtaken

	spareWait     = 500 * time.Millisecond // for a spare link, before the mux is used
	spareIdle     = time.Minute            // in which a spare link is not needed, before it is closed
	demandTimeout = 5 * time.Second        // for the outlet's connection to take a demand
)

// Registry is what makes a node a relay: who has claimed which name, and how to reach them. It is safe for concurrent
// use.
type Server struct {
	node        *route.Node
	logger      *slog.Logger
	max         int
	perIdentity int

	// mayClaim decides whether a peer that is trusted may claim a name. Nil allows every name.
	mayClaim func(d trust.Decision, name string) error

	mu      sync.Mutex
	names   map[string]*lease
	tickets map[[ticketIDSize]byte]*lease
	owners  map[identity.Identifier]int
}

// RegistryConfig says how much a relay takes on. The zero value is the default.
type ServerConfig struct {
	Registrations int // names in all; 0 means DefaultRegistrations
	PerIdentity   int // names of one identity; 0 means DefaultNamesPerIdentity

	// MayClaim decides whether a trusted peer may claim a name; its error is the reason. It is asked again whenever
	// the peer is trusted by something else than before. Nil allows every name.
	MayClaim func(d trust.Decision, name string) error
}

// NewRegistry makes n a relay. Whom n trusts may claim names.
func NewServer(n *route.Node, c ServerConfig) *Server {
	g := &Server{
		node: n, logger: n.Logger(), max: c.Registrations, perIdentity: c.PerIdentity, mayClaim: c.MayClaim,
		names:   make(map[string]*lease),
		tickets: make(map[[ticketIDSize]byte]*lease),
		owners:  make(map[identity.Identifier]int),
	}
	if g.max == 0 {
		g.max = DefaultRegistrations
	}
	if g.perIdentity == 0 {
		g.perIdentity = DefaultNamesPerIdentity
	}
	n.Offer(RegisterName, route.Service{Handler: g.register, Waits: true})
	n.Offer(SpareName, route.Service{Handler: g.spare, Open: true, Waits: true})
	return g
}

// register serves an outlet's claim, for as long as the claim lives.
func (g *Server) register(ctx context.Context, q *route.Request) error {
	kind, name, err := parseClaim(q.Message.Payload)
	if err != nil {
		return err
	}
	if err := g.judge(q.Session, name); err != nil {
		return route.RefuseBecause(wire.NotTrusted, "", err)
	}
	r := &lease{
		name: name, owner: q.Session.Peer().Identifier(), session: q.Session, muxOnly: kind == muxOnly,
		ready: make(chan struct{}), parted: make(chan struct{}, 1),
	}
	if _, err := io.ReadFull(rand.Reader, r.id[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(rand.Reader, r.key[:]); err != nil {
		return err
	}
	if err := g.claim(r); err != nil {
		return err
	}
	defer g.release(r)
	return g.hold(ctx, q, r)
}

// judge tells whether the peer of s may have a name.
func (g *Server) judge(s *channel.Session, name string) error {
	if g.mayClaim == nil {
		return nil
	}
	if err := g.mayClaim(s.Decision(), name); err != nil {
		return fmt.Errorf("%s may not claim the name %s: %w", s.Peer().Identifier(), name, err)
	}
	return nil
}

// appendClaim and parseClaim are the payload of a claim.
func appendClaim(dst []byte, kind byte, name string) []byte {
	return append(append(dst, kind), name...)
}

func parseClaim(b []byte) (kind byte, name string, err error) {
	if len(b) < 2 || b[0] > muxOnly {
		return 0, "", route.Refuse(wire.BadMessage, "not a claim of a name")
	}
	name = string(b[1:])
	if err := route.Forward(name).Validate(); err != nil {
		return 0, "", route.Refuse(wire.BadMessage, "a relay name has only letters, digits, dot, dash and underscore")
	}
	return b[0], name, nil
}

// hold answers a claim, and returns when it ends. From the answer on links may lead to the outlet, and what is in use when
// the claim ends goes on while its owner is trusted.
func (g *Server) hold(ctx context.Context, q *route.Request, r *lease) error {
	stream := q.Accept()
	if _, err := stream.Write(append(r.id[:], r.key[:]...)); err != nil {
		return err
	}
	reason := g.keep(ctx, q.Session, stream, r)
	if errors.Is(reason, trust.ErrNotTrusted) {
		r.revoke()
	} else if !r.retire() {
		g.node.Go(func() { g.outlive(r) })
	}
	gone := g.logger.With("name", r.name, "identifier", r.owner)
	if reason != nil {
		gone = gone.With("reason", reason)
	}
	gone.Info("outlet gone")
	return nil
}

// keep makes a mux of stream, and returns when the claim ends, and why if not in order.
func (g *Server) keep(ctx context.Context, s *channel.Session, stream *route.Stream, r *lease) error {
	mux, err := mux.NewClient(stream, g.node.Go, mux.MaxUnended)
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	defer mux.Close()
	if err := mux.GoAway(); err != nil { // what the outlet opened would be taken by nobody
		return err
	}
	if err := r.open(mux); err != nil {
		return err
	}
	watching.Go(mux.Watch)
	g.logger.Info("outlet registered", "name", r.name, "identifier", r.owner)
	if reason := g.lapse(ctx, s, r.name, mux); reason != nil {
		return reason
	}
	return cmp.Or(mux.Err(), stream.Err())
}

// outlive revokes a registration that has ended, and has links in use, when its owner is not trusted with the name any
// more, by what he has shown last. It returns when they are not in use any more, or the node is closed.
func (g *Server) outlive(r *lease) {
	trust := g.node.Trust()
	for session := r.session; ; {
		session = g.lastSession(r, session)
		changed := trust.Changed()
		decision, err := trust.Check(session.Peer(), time.Now())
		if err == nil && g.mayClaim != nil {
			err = g.mayClaim(decision, r.name)
		}
		if err != nil {
			r.revoke()
		}
		if r.retire() {
			return
		}
		var expired <-chan time.Time
		if !decision.Until.IsZero() {
			expired = time.After(time.Until(decision.Until))
		}
		select {
		case <-changed:
		case <-expired:
		case <-r.parted:
		case <-g.node.Done():
			return
		}
	}
}

// lastSession returns the session with r's owner that his newest claim of the name came through, or before if r's was.
func (g *Server) lastSession(r *lease, before *channel.Session) *channel.Session {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now, ok := g.names[r.name]; ok && now.owner == r.owner {
		return now.session
	}
	return before
}

// lapse returns when a claim ends, and why if it is the peer of s that is not trusted with it any more.
func (g *Server) lapse(ctx context.Context, s *channel.Session, name string, mux *mux.Mux) error {
	for {
		decided := s.Decided()
		if err := g.judge(s, name); err != nil {
			return fmt.Errorf("%w: %w", trust.ErrNotTrusted, err)
		}
		select {
		case <-decided:
		case <-s.Done():
			return s.Err()
		case <-mux.CloseChan():
			return s.Err()
		case <-ctx.Done():
			return nil
		}
	}
}

// claim gives r its name. An older claim of the same identity ends.
func (g *Server) claim(r *lease) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	old, taken := g.names[r.name]
	switch {
	case taken && old.owner != r.owner:
		return route.Refuse(wire.NameTaken, fmt.Sprintf("the name %s belongs to another identity", r.name))
	case !taken && len(g.names) >= g.max:
		return route.Refuse(wire.Busy, "no more names here")
	case !taken && g.owners[r.owner] >= g.perIdentity:
		return route.Refuse(wire.Busy, "no more names for this identity")
	case taken:
		g.removeLocked(old)
		g.node.Go(old.supersede)
	}
	g.names[r.name] = r
	g.tickets[r.id] = r
	g.owners[r.owner]++
	g.node.HandleOpen(route.ForwardPrefix+r.name, func(ctx context.Context, q *route.Request) error {
		return g.forward(ctx, q, r)
	})
	return nil
}

// release takes r's name back if r still has it.
func (g *Server) release(r *lease) {
	g.mu.Lock()
	if g.names[r.name] == r {
		g.removeLocked(r)
		g.node.Withdraw(route.ForwardPrefix + r.name)
	}
	g.mu.Unlock()
	r.close()
}

func (g *Server) removeLocked(r *lease) {
	delete(g.names, r.name)
	delete(g.tickets, r.id)
	if g.owners[r.owner]--; g.owners[r.owner] == 0 {
		delete(g.owners, r.owner)
	}
}

// forward leads an inlet's link to the outlet.
func (g *Server) forward(ctx context.Context, q *route.Request, r *lease) error {
	next, aside, err := r.link(ctx)
	if err != nil {
		return r.unreachable(err)
	}
	if !r.join(next) {
		aside(func() { _ = next.Close() })
		return r.unreachable(trust.ErrNotTrusted)
	}
	defer r.part(next)
	return q.Forward(next, aside)
}

// unreachable is what an inlet is told when the outlet could not be reached.
func (r *lease) unreachable(why error) error {
	return route.RefuseBecause(wire.Unreachable, fmt.Sprintf("the outlet %s does not answer", r.name), why)
}

// spare parks an outlet's link until it is used.
func (g *Server) spare(ctx context.Context, q *route.Request) error {
	r, number, err := g.redeem(q.Message.Payload)
	if err != nil {
		return err
	}
	q.FreeSlot()
	if q.IsFollowed() {
		return route.Refuse(wire.BadMessage, "a spare link speaks when it is spoken to")
	}
	p := &parked{conn: q.Conn(), work: make(chan func(), 1)}
	first := r.spend(number) // before the answer: who repeats this link may do so as soon as he has seen that
	if err := q.Accept().Flush(); err != nil {
		return err
	}
	if !first || !r.park(p) {
		return nil
	}
	if work := r.await(p); work != nil {
		work()
	}
	return nil
}

// errNoClaim is the relay's own affair: who asks is told nothing.
var errNoClaim = errors.New("spare link of a claim that has ended, or whose proof is wrong")

// redeem finds the registration that a spare link's payload proves to belong to.
func (g *Server) redeem(payload []byte) (*lease, uint64, error) {
	refused := route.RefuseBecause(wire.NotTrusted, "", errNoClaim)
	if len(payload) != sparePayload {
		return nil, 0, refused
	}
	g.mu.Lock()
	r, ok := g.tickets[[ticketIDSize]byte(payload)]
	g.mu.Unlock()
	if !ok {
		return nil, 0, refused
	}
	number := binary.BigEndian.Uint64(payload[ticketIDSize:])
	if !hmac.Equal(payload, appendSparePayload(nil, r.id, r.key, number)) {
		return nil, 0, refused
	}
	return r, number, nil
}

func appendSparePayload(dst []byte, id [ticketIDSize]byte, key [ticketKeySize]byte, number uint64) []byte {
	dst = append(dst, id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, number)
	mac := hmac.New(sha256.New, key[:])
	mac.Write(dst[len(dst)-ticketIDSize-8:])
	return append(dst, mac.Sum(nil)[:spareMACSize]...)
}

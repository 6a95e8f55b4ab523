package route

import (
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

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/wire"
)

// A relay has two services for outlets:
//
//	register, inside a secure channel   payload: the name; the answer goes on with a ticket, and then the stream is a
//	                                    mux on which the relay opens links to the outlet
//	spare, on a link of its own         payload: id (16) | number (8) | MAC (16); after the answer the link waits for
//	                                    the relay to open something on it
//
//	ticket = id (16) | key (32)         MAC = HMAC-SHA256(key, id | number)[:16]
//
// and one for inlets, forward_to_NAME, which takes a spare link or opens one in the mux, sends the message on, and
// joins the two links.
const (
	RegisterName = "register"
	SpareName    = "spare"

	ticketIDSize  = 16
	ticketKeySize = 32
	ticketSize    = ticketIDSize + ticketKeySize
	spareMACSize  = 16
	sparePayload  = ticketIDSize + 8 + spareMACSize
)

// Limits of a relay.
const (
	DefaultRegistrations = 10_000 // names on a relay
	DefaultPerIdentity   = 64     // names of one identity
	maxSpares            = 64     // waiting links of one registration
	spareWindow          = 64     // numbers by which one spare link may be overtaken
)

// Registry is what makes a node a relay: who has claimed which name, and how to reach them. It is safe for concurrent
// use.
type Registry struct {
	node        *Node
	logger      *slog.Logger
	max         int
	perIdentity int

	// MayClaim decides whether a peer that is trusted may claim a name. Nil allows every name.
	mayClaim func(d identity.Decision, name string) error

	mu      sync.Mutex
	names   map[string]*registration
	tickets map[[ticketIDSize]byte]*registration
	owners  map[identity.Identifier]int
}

// RegistryConfig says how much a relay takes on. The zero value is the default.
type RegistryConfig struct {
	Registrations int // names in all; 0 means DefaultRegistrations
	PerIdentity   int // names of one identity; 0 means DefaultPerIdentity

	// MayClaim decides whether a trusted peer may claim a name; its error is the reason. Nil allows every name.
	MayClaim func(d identity.Decision, name string) error
}

// NewRegistry makes n a relay. Whom n trusts may claim names.
func NewRegistry(n *Node, c RegistryConfig) *Registry {
	g := &Registry{
		node: n, logger: n.logger, max: c.Registrations, perIdentity: c.PerIdentity, mayClaim: c.MayClaim,
		names:   make(map[string]*registration),
		tickets: make(map[[ticketIDSize]byte]*registration),
		owners:  make(map[identity.Identifier]int),
	}
	if g.max == 0 {
		g.max = DefaultRegistrations
	}
	if g.perIdentity == 0 {
		g.perIdentity = DefaultPerIdentity
	}
	n.Handle(RegisterName, g.register)
	n.HandleOpen(SpareName, g.spare)
	return g
}

// registration is one outlet's claim of a name.
type registration struct {
	name    string
	owner   identity.Identifier
	session *channel.Session
	id      [ticketIDSize]byte
	key     [ticketKeySize]byte
	mux     *yamux.Session
	stream  *Stream

	mu     sync.Mutex
	spares []*parked // the one that came last is taken first
	used   recent
	closed bool
}

// parked is a spare link. Whoever takes it from the registration hands it to the goroutine that serves it.
type parked struct {
	conn netio.Conn
	stop chan struct{} // closed when the link has been used or given up
}

// register serves an outlet's claim, for as long as the claim lives.
func (g *Registry) register(ctx context.Context, q *Request) error {
	name := string(q.Message.Payload)
	address := wire.Address{Kind: wire.Service, Name: ForwardPrefix + name}
	if err := address.Validate(); name == "" || err != nil {
		return Refuse(wire.BadMessage, "a relay name has only letters, digits, dot, dash and underscore")
	}
	if g.mayClaim != nil {
		if err := g.mayClaim(q.Session.Decision(), name); err != nil {
			return errors.Join(err, Refuse(wire.NotTrusted, ""))
		}
	}
	r := &registration{name: name, owner: q.Session.Peer().Identifier(), session: q.Session}
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

// hold answers a claim, and returns when it ends.
func (g *Registry) hold(ctx context.Context, q *Request, r *registration) error {
	stream := q.Accept()
	if _, err := stream.Write(append(r.id[:], r.key[:]...)); err != nil {
		return err
	}
	mux, err := yamux.Client(stream, muxConfig())
	if err != nil {
		return err
	}
	defer mux.Close()
	r.open(mux)
	g.logger.Info("outlet registered", "name", r.name, "identifier", r.owner)
	var reason error
	select {
	case <-mux.CloseChan():
		reason = stream.Err()
	case <-ctx.Done():
	}
	g.logger.Info("outlet gone", "name", r.name, "identifier", r.owner, "reason", reason)
	return nil
}

// claim gives r its name. An older claim of the same identity ends.
func (g *Registry) claim(r *registration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	old, taken := g.names[r.name]
	switch {
	case taken && old.owner != r.owner:
		return Refuse(wire.NameTaken, fmt.Sprintf("the name %s belongs to another identity", r.name))
	case !taken && len(g.names) >= g.max:
		return Refuse(wire.Busy, "no more names here")
	case !taken && g.owners[r.owner] >= g.perIdentity:
		return Refuse(wire.Busy, "no more names for this identity")
	case taken:
		g.removeLocked(old)
		go old.close() // it waits for goroutines of its own only
	}
	g.names[r.name] = r
	g.tickets[r.id] = r
	g.owners[r.owner]++
	g.node.HandleOpen(ForwardPrefix+r.name, func(ctx context.Context, q *Request) error {
		return g.forward(ctx, q, r)
	})
	return nil
}

// release takes r's name back if r still has it.
func (g *Registry) release(r *registration) {
	g.mu.Lock()
	if g.names[r.name] == r {
		g.removeLocked(r)
		g.node.Withdraw(ForwardPrefix + r.name)
	}
	g.mu.Unlock()
	r.close()
}

func (g *Registry) removeLocked(r *registration) {
	delete(g.names, r.name)
	delete(g.tickets, r.id)
	if g.owners[r.owner]--; g.owners[r.owner] == 0 {
		delete(g.owners, r.owner)
	}
}

// forward leads an inlet's link to the outlet.
func (g *Registry) forward(ctx context.Context, q *Request, r *registration) error {
	next, used, err := r.link()
	if err != nil {
		g.logger.Warn("outlet not reached", "name", r.name, "error", err)
		return Refuse(wire.Unreachable, fmt.Sprintf("the outlet %s does not answer", r.name))
	}
	defer used()
	return q.Forward(ctx, next)
}

// spare parks an outlet's link until it is used.
func (g *Registry) spare(ctx context.Context, q *Request) error {
	r, number, err := g.redeem(q.Message.Payload)
	if err != nil {
		return err
	}
	if len(q.ahead) > 0 {
		return Refuse(wire.BadMessage, "a spare link speaks when it is spoken to")
	}
	p := &parked{conn: q.conn, stop: make(chan struct{})}
	if err := q.Accept().Flush(); err != nil {
		return err
	}
	if !r.park(p, number) {
		return nil
	}
	select {
	case <-p.stop:
	case <-ctx.Done():
	}
	return nil
}

// redeem finds the registration that a spare link's payload proves to belong to.
func (g *Registry) redeem(payload []byte) (*registration, uint64, error) {
	refused := Refuse(wire.NotTrusted, "")
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

func (r *registration) open(mux *yamux.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mux = mux
	if r.closed {
		_ = mux.Close()
	}
}

// close ends the registration's waiting links. Those in use live on.
func (r *registration) close() {
	r.mu.Lock()
	spares := r.spares
	mux := r.mux
	r.spares, r.closed = nil, true
	r.mu.Unlock()
	for _, p := range spares {
		close(p.stop)
	}
	if mux != nil {
		_ = mux.Close()
	}
}

// park keeps a spare link. It reports false if there are enough, or if the number has been used.
func (r *registration) park(p *parked, number uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.spares) >= maxSpares || !r.used.use(number) {
		return false
	}
	r.spares = append(r.spares, p)
	return true
}

// link returns a link to the outlet, and what to call when it has been used.
func (r *registration) link() (netio.Conn, func(), error) {
	for {
		p := r.takeSpare()
		if p == nil {
			break
		}
		if netio.Quiet(p.conn) {
			return p.conn, func() { close(p.stop) }, nil
		}
		close(p.stop)
	}
	r.mu.Lock()
	mux := r.mux
	r.mu.Unlock()
	if mux == nil {
		return nil, nil, errors.New("the registration is not ready")
	}
	s, err := mux.OpenStream()
	if err != nil {
		return nil, nil, err
	}
	return newMuxLink(s), func() {}, nil
}

func (r *registration) takeSpare() *parked {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.spares) == 0 {
		return nil
	}
	last := len(r.spares) - 1
	p := r.spares[last]
	r.spares = r.spares[:last]
	return p
}

// recent remembers which of the last numbers have been used.
type recent struct {
	next uint64 // one more than the highest number used
	used uint64 // bit i: next-1-i has been used
}

// use reports whether n had not been used, and marks it as used.
func (r *recent) use(n uint64) bool {
	if n >= r.next {
		r.used = r.used<<min(n-r.next+1, spareWindow) | 1
		r.next = n + 1
		return true
	}
	behind := r.next - 1 - n
	if behind >= spareWindow || r.used&(1<<behind) != 0 {
		return false
	}
	r.used |= 1 << behind
	return true
}

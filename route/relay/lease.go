package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/replay"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/mux"
	"github.com/secureportal/sp/wire"
)

var leasesNow = metrics.NewGauge("relay_leases", "names that outlets hold on this relay")

// Lease is an outlet's hold on a name, on the relay's side. Its life:
//
//	claimed ──► ready ──► superseded ──┐
//	   │          └─────► lapsed ──────┴──► in use only ──► over
//	   └──► over: the outlet does not take the answer
//
//	claimed      the directory has given the name to it, and the outlet is being answered
//	ready        there is a mux with the outlet, and links may lead there
//	superseded   the same identity has claimed the name anew, and the outlet has been told
//	lapsed       the mux or the outlet's session has ended, or its owner may not have the name
//	in use only  no link leads there any more; those in use go on while the owner may have the name
//	over         no link is in use
//
// One goroutine, that of the outlet's claim, leads it through all of them; from "in use only" on it
// is another one, of the node's.
type Lease struct {
	claim
	owner   identity.Identifier
	session *channel.Session // of the claim
	key     standbyKey

	ready  chan struct{} // closed when it is ready
	parked pool
	used   inUse

	mu      sync.Mutex
	mux     *mux.Mux  // nil until it is ready
	demands *mux.Link // its first link
	closed  bool      // superseded or lapsed

	sharing *sharing // nil if the name is not shared
}

// newLease returns the lease that the peer of s asks for.
func newLease(c claim, s *channel.Session) (*Lease, error) {
	key, err := newStandbyKey()
	if err != nil {
		return nil, err
	}
	l := &Lease{
		claim: c, owner: s.Peer().Identifier(), session: s, key: key,
		ready: make(chan struct{}),
	}
	if c.shares {
		l.sharing = newSharing()
	}
	l.parked.numbers = replay.NewFilter(numberWindow)
	l.parked.tellNone = func() { l.demand(demandNone) }
	l.parked.unused = time.Now()
	return l, nil
}

// Name returns the name that is held.
func (l *Lease) Name() string { return l.name }

// Owner returns whose the name is while the lease lasts.
func (l *Lease) Owner() identity.Identifier { return l.owner }

// Instance tells which process of its owner's claims the name.
func (l *Lease) Instance() Instance { return l.instance }

// Replaces tells whether the claim is to take the name from another process of its owner's that
// holds it.
func (l *Lease) Replaces() bool { return l.replace }

// IsShared tells whether the claim is to share the name with other processes of its owner's.
func (l *Lease) IsShared() bool { return l.shares }

// IsHeld asks the process that has claimed the name whether it is still there, and reports whether
// it says so in a second. One that is going away does not hold the name any more.
func (l *Lease) IsHeld(ctx context.Context) bool {
	select {
	case <-l.session.GoingAway():
		return false
	default:
	}
	return l.ping(ctx) == nil
}

// ping waits a second for an answer of the process that has claimed the name.
func (l *Lease) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, holderTimeout)
	defer cancel()
	_, err := l.session.Ping(ctx)
	return err
}

// wasSilent tells whether the session of the claim has ended because nothing came from the outlet.
func (l *Lease) wasSilent() bool { return errors.Is(l.session.Err(), channel.ErrMissedPongs) }

// isSilent asks the process that has claimed the name whether it is still there, and reports
// whether nothing at all comes from it for a second: no answer, and no end of its session either.
func (l *Lease) isSilent() bool {
	if l.session.Err() != nil {
		return l.wasSilent()
	}
	err := l.ping(context.Background())
	return errors.Is(err, context.DeadlineExceeded) && l.session.Err() == nil
}

// source is where the outlet's session comes from, for the log.
func (l *Lease) source() string {
	if from := l.session.Link().RemoteAddr(); from != nil {
		return from.String()
	}
	return ""
}

// open makes the lease ready: links lead through m from now on.
func (l *Lease) open(m *mux.Mux) error {
	demands, err := m.Open()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mux, l.demands = m, demands
	close(l.ready)
	return nil
}

// hasBeenReady tells whether open has made the lease ready.
func (l *Lease) hasBeenReady() bool {
	select {
	case <-l.ready:
		return true
	default:
		return false
	}
}

// tellSuperseded tells the outlet that its name is another process's: or it would take the name
// back at once, and so on.
func (l *Lease) tellSuperseded() { l.demand(demandSuperseded) }

// demand says a byte to the outlet, if it can be told anything.
func (l *Lease) demand(b byte) {
	l.mu.Lock()
	demands := l.demands
	l.mu.Unlock()
	if demands == nil {
		return
	}
	_ = demands.SetWriteDeadline(time.Now().Add(demandTimeout))
	_, _ = demands.Write([]byte{b})
}

// close ends the waiting links and the mux. Links in use live on.
func (l *Lease) close() {
	l.mu.Lock()
	m := l.mux
	l.closed = true
	l.mu.Unlock()
	l.parked.close()
	if m != nil {
		_ = m.Close()
	}
}

// canDemand tells whether it makes sense to ask the outlet for a standby link.
func (l *Lease) canDemand() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.demands != nil && !l.muxOnly && !l.closed
}

// awaitReady waits a moment for a lease that has been claimed just now.
func (l *Lease) awaitReady(ctx context.Context) {
	select {
	case <-l.ready:
		return
	default:
	}
	timer := time.NewTimer(standbyWait)
	defer timer.Stop()
	select {
	case <-l.ready:
	case <-timer.C:
	case <-ctx.Done():
	}
}

var errNotReady = errors.New("the lease is not ready")

// link returns a link to the outlet: a standby link if there is one, or comes soon after it has
// been asked for, and otherwise one in the mux.
func (l *Lease) link(ctx context.Context) (outward, error) {
	l.awaitReady(ctx)
	for p := l.parked.take(); p != nil; p = l.parked.take() {
		if netio.Quiet(p.conn) {
			return outward{p.conn, p}, nil
		}
		p.giveUp()
	}
	if l.canDemand() {
		if p := l.parked.await(ctx, func() { l.demand(demandLink) }); p != nil {
			if netio.Quiet(p.conn) {
				return outward{p.conn, p}, nil
			}
			p.giveUp()
		}
	}
	l.mu.Lock()
	m := l.mux
	l.mu.Unlock()
	if m == nil {
		return outward{}, errNotReady
	}
	link, err := m.Open()
	if err != nil {
		return outward{}, err
	}
	return outward{Conn: link}, nil
}

// forward leads an inlet's link to the outlet.
func (l *Lease) forward(ctx context.Context, q *route.Request) error {
	if step, ok := q.TakeInstance(); ok && Instance(step) != l.instance {
		return route.Refuse(wire.Unreachable, notHere(l.name))
	}
	w := &led{lease: l, went: l.comes(q)}
	defer w.end()
	if err := w.use(ctx); err != nil {
		return err
	}
	if !q.IsLed() { // the outlet learns in the session of the claim when this node goes away
		return q.Forward(w.next)
	}
	return q.ForwardTo(w.next, l, l.again)
}

// led is an inlet's link that leads to the outlet. What has to be done when it does not any more is
// here, and not in frames of who waits for that: they are of thousands of goroutines.
type led struct {
	lease  *Lease
	went   func()     // counts it no more
	next   netio.Conn // nil if there is none
	over   func()     // that one is closed
	missed func()     // no more is the session
}

// comes counts an inlet's link until went is called.
func (l *Lease) comes(q *route.Request) (went func()) {
	l.parked.begin()
	if l.sharing == nil {
		return l.parked.end
	}
	byIt := l.sharing.comes(q.CameBy())
	return func() {
		byIt()
		l.parked.end()
	}
}

// use makes a link to the outlet, in use until end.
//
//go:noinline
func (w *led) use(ctx context.Context) error {
	l := w.lease
	next, err := l.link(ctx)
	if err != nil {
		return l.unreachable(err)
	}
	if !l.used.add(next.Conn) {
		next.decline()
		return l.unreachable(trust.ErrNotTrusted)
	}
	w.next, w.over = next.Conn, next.use()
	w.missed = l.session.WouldBeMissed() // what goes to the outlet does not go through it
	return nil
}

//go:noinline
func (w *led) end() {
	if w.next != nil {
		w.over()
		w.missed()
		w.lease.used.remove(w.next)
	}
	w.went()
}

// again makes one more link to the outlet.
func (l *Lease) again(ctx context.Context) (link route.Conn, end func(), err error) {
	next, err := l.link(ctx)
	if err != nil {
		return nil, nil, err
	}
	return next.Conn, next.use(), nil
}

// unreachable is what an inlet is told when the outlet could not be reached.
func (l *Lease) unreachable(why error) error {
	return route.RefuseBecause(wire.Unreachable,
		fmt.Sprintf("the outlet %s does not answer", l.name), why)
}

// ended says why a lease has ended whose mux has, or nil if that was in order.
func ended(s *channel.Session, m *mux.Mux, stream *route.Stream) error {
	return cmp.Or(s.Err(), m.Err(), stream.Err())
}

// inUse are the links to an outlet that carry something. They outlive the lease, and end when its
// owner may not have the name any more. It has a lock of its own.
type inUse struct {
	removed chan struct{} // gets something when a link is not in use any more; nil before any was

	mu    sync.Mutex
	links map[netio.Conn]struct{}
	over  bool // none is in use, nor will be
}

// add takes c among the links in use. It reports false if it is over.
func (u *inUse) add(c netio.Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return false
	}
	if u.links == nil {
		u.links, u.removed = make(map[netio.Conn]struct{}), make(chan struct{}, 1)
	}
	u.links[c] = struct{}{}
	return true
}

// remove is the end of add.
func (u *inUse) remove(c netio.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.links, c)
	select {
	case u.removed <- struct{}{}:
	default:
	}
}

// endIfNone makes it over if no link is in use, and reports whether it is over.
func (u *inUse) endIfNone() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = u.over || len(u.links) == 0
	return u.over
}

// reset makes it over: it resets the links in use.
func (u *inUse) reset() {
	u.mu.Lock()
	links := u.links
	u.links, u.over = nil, true
	u.mu.Unlock()
	for c := range links {
		_ = netio.Reset(c)
	}
}

// Package admission says how much a node takes on, and for whom: how many connections in all, for
// one identity and from one source, how many links of which nothing is known yet, and how many
// handshakes a second.
//
// It has no sockets, starts nothing, and has no clock: whoever asks says what time it is. It does
// not know what a route is, and its errors are its own.
package admission

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
)

// Defaults of Limits.
const (
	DefaultConnections     = 16384 // what a node's descriptors allow is usually less
	DefaultPerIdentity     = 16384
	DefaultPerSource       = 16384
	DefaultUnauthenticated = 1024
	DefaultRelayed         = 256
	DefaultHandshakeRate   = 32
)

const (
	relayedPart  = 2  // a relay's links have this part of the slots beside them, of each kind,
	relayedLeast = 96 // but at least so many: most of them take no descriptors
)

// knownRate is how many times as many handshakes a known source may begin: there may be ten
// thousand peers behind it, who come at once when the node has been started anew.
const knownRate = 16

// Limits says how much a node takes on. Zero fields are the defaults. What is over a limit is
// refused; what is there already does not suffer, but for links that are still unauthenticated
// after a second, which make room for others.
type Limits struct {
	Connections     int // at once
	PerIdentity     int // of them for one identity
	PerSource       int // of them from one source
	Unauthenticated int // links at once, and as many again from known sources
	Relayed         int // the same for each relay that leads links here, of each kind: see Way
	HandshakeRate   int // a second, from one source; more from a known one

	// Descriptors is how many the node may have for links, and for what it dials for those who
	// come by them. 0 is no bound.
	Descriptors int
}

// WithDefaults returns l with its zero fields filled in.
func (l Limits) WithDefaults() Limits {
	set := func(v *int, otherwise int) {
		if *v <= 0 {
			*v = otherwise
		}
	}
	set(&l.Connections, DefaultConnections)
	set(&l.PerIdentity, DefaultPerIdentity)
	set(&l.PerSource, DefaultPerSource)
	set(&l.Unauthenticated, DefaultUnauthenticated)
	set(&l.Relayed, min(DefaultRelayed, max(l.Unauthenticated/relayedPart, relayedLeast)))
	set(&l.HandshakeRate, DefaultHandshakeRate)
	return l
}

// Why somebody is not admitted. The texts may be told to him.
var (
	ErrTooMany           = errors.New("too many connections")
	ErrTooManyFromThere  = errors.New("too many connections from there")
	ErrTooManyHandshakes = errors.New("too many handshakes from there")
)

// Admission counts what one node has taken on. It is safe for concurrent use.
type Admission struct {
	limits     Limits // set once
	handshakes rates
	ofKnown    rates // handshakes of known sources
	turns      *turns

	mu              sync.Mutex // guards what follows
	connections     counter
	links           slots
	unauthenticated int // links that have a slot, by whichever way
	descriptors     descriptors
	held            map[identity.Identifier]*held
}

// New returns an Admission that has taken on nothing yet. quiet tells, without waiting, whether all
// that has come on a link, given its holder, has been read; it must not call back. nil is that it
// always has.
func New(l Limits, quiet func(holder any) bool) *Admission {
	l = l.WithDefaults()
	links := newSlots(l.Unauthenticated)
	links.useQuiet(quiet)
	return &Admission{
		limits:      l,
		handshakes:  newRates(l.HandshakeRate, handshakeBurst*l.HandshakeRate),
		ofKnown:     newRates(knownRate*l.HandshakeRate, handshakeBurst*knownRate*l.HandshakeRate),
		turns:       newTurns(),
		connections: newCounter(), descriptors: descriptors{most: l.Descriptors},
		held:  make(map[identity.Identifier]*held),
		links: links,
	}
}

// Begin counts one more connection for p until End is called with the same, or says which limit is
// in the way. Where p has links that rest, one of those makes room first.
func (a *Admission) Begin(p Party) error {
	old, err := a.begin(p)
	old.closeLink()
	return err
}

func (a *Admission) begin(p Party) (old *resting, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.isPeer() && !a.descriptors.targetLeftFor(a.connections.by[p.key]) {
		if old = a.oldestOfLocked(p); old == nil {
			targetsRefused.Inc()
			return nil, ErrTooMany
		}
	}
	if err := a.connections.admit(a.limits, p); err != nil {
		connectionsRefused.Inc()
		return old, err
	}
	if p.isPeer() {
		a.descriptors.targets++
	}
	return old, nil
}

// oldestOfLocked takes out the link of p's that has rested longest, or returns nil.
func (a *Admission) oldestOfLocked(p Party) *resting {
	id, _ := p.key.(identity.Identifier)
	if h := a.held[id]; h != nil {
		return h.oldest()
	}
	return nil
}

// End is the end of a connection that Begin has admitted.
func (a *Admission) End(p Party) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connections.leave(p.key)
	if p.isPeer() {
		a.descriptors.targets--
	}
}

// Handshake counts a handshake with somebody at from, whose first message has come whole. It fails
// with ErrTooManyHandshakes if there have been too many.
func (a *Admission) Handshake(from Source, now time.Time) error {
	of := &a.handshakes
	if a.isKnown(from, now) {
		of = &a.ofKnown
	}
	if !of.take(from, now) {
		handshakesRefused.Inc()
		return ErrTooManyHandshakes
	}
	return nil
}

// TLS counts a handshake of TLS with somebody at from, who has said hello, as Handshake does. Those
// of a known source are not counted: over TLS, each of its connections may take one.
func (a *Admission) TLS(from Source, now time.Time) error {
	if a.isKnown(from, now) {
		return nil
	}
	return a.Handshake(from, now)
}

func (a *Admission) isKnown(from Source, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.links.known.has(from, now)
}

// Compute runs f, which computes for a handshake with somebody at from, when it is his turn. begins
// says that nothing has been computed for the handshake yet. It fails with ErrBusy if too many
// wait.
func (a *Admission) Compute(
	ctx context.Context, from Source, begins bool, now time.Time, f func() error,
) error {
	r := begun
	switch {
	case !begins:
	case a.isKnown(from, now):
		r = ofKnown
	default:
		r = ofUnknown
	}
	if err := a.turns.take(ctx, r, from); err != nil {
		if errors.Is(err, ErrBusy) {
			handshakesBusy.Inc()
		}
		return err
	}
	defer a.turns.done()
	return f()
}

// Enter gives a link from a source a slot among the unauthenticated links, or says which limit is
// in the way. holder stands for the link. Where another link has to make room, displaced is that
// one's holder: the caller resets that link, and it is counted until its own slot has ended.
func (a *Admission) Enter(
	holder any, from Source, now time.Time,
) (s *Slot, displaced any, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.enterLocked(&a.links, nil, holder, from, now)
}

func (a *Admission) enterLocked(
	of *slots, way *Way, holder any, from Source, now time.Time,
) (s *Slot, displaced any, err error) {
	s, old, err := of.admit(from, now)
	if err != nil {
		refusedBy(way)
		return nil, nil, err
	}
	a.unauthenticated++
	unauthenticatedNow.Inc()
	s.owner, s.way, s.holder = a, way, holder
	return s, displace(old), nil
}

// displace returns the link that old is the slot of.
func displace(old *Slot) (holder any) {
	if old == nil {
		return nil
	}
	linksDisplaced.Inc()
	holder, old.holder = old.holder, nil
	return holder
}

// leftLocked takes note that a link does not count as unauthenticated any more.
func (a *Admission) leftLocked() {
	a.unauthenticated--
	unauthenticatedNow.Dec()
}

// Links returns how many links are unauthenticated, and how many of authenticated peers make their
// source known.
func (a *Admission) Links() (unauthenticated, authenticated int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unauthenticated, a.links.known.links
}

// Party is whom a connection counts for.
type Party struct {
	key       any // identity.Identifier or Source
	anonymous bool
}

// ByIdentity is the party of a peer that has proved who it is.
func ByIdentity(id identity.Identifier) Party { return Party{key: id} }

// BySource is the party of what comes from a source, and is this node's own affair.
func BySource(from Source) Party { return Party{key: from} }

// Anonymous is the party of one who comes from a source, and of whom nothing else is known: a few
// sources that take all they can do not keep the others out.
func Anonymous(from Source) Party { return Party{key: from, anonymous: true} }

// isPeer tells whether p has proved who it is: something is dialed for it.
func (p Party) isPeer() bool {
	_, ok := p.key.(identity.Identifier)
	return ok
}

// IsZero tells whether p is nobody.
func (p Party) IsZero() bool { return p.key == nil }

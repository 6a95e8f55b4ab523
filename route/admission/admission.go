// Package admission says how much a node takes on, and for whom: how many connections in all, for
// one identity and from one source, how many links of which nothing is known yet, and how many
// handshakes a second.
//
// It has no sockets, starts nothing, and has no clock: whoever asks says what time it is. It does
// not know what a route is, and its errors are its own.
package admission

import (
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
	DefaultHandshakeRate   = 32
)

// Limits says how much a node takes on. Zero fields are the defaults. What is over a limit is
// refused; what is there already does not suffer, but for links that are still unauthenticated
// after a second, which make room for others.
type Limits struct {
	Connections     int // at once
	PerIdentity     int // of them for one identity
	PerSource       int // of them from one source
	Unauthenticated int // links at once, and as many again from known sources
	HandshakeRate   int // a second, from one source
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

	mu          sync.Mutex
	connections counter
	links       slots
}

// New returns an Admission that has taken on nothing yet.
func New(l Limits) *Admission {
	l = l.WithDefaults()
	return &Admission{
		limits:      l,
		handshakes:  newRates(l.HandshakeRate, handshakeBurst*l.HandshakeRate),
		connections: newCounter(),
		links:       newSlots(l.Unauthenticated),
	}
}

// Begin counts one more connection for p until End is called with the same, or says which limit is
// in the way.
func (a *Admission) Begin(p Party) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.connections.admit(a.limits, p)
	if err != nil {
		connectionsRefused.Inc()
	}
	return err
}

// End is the end of a connection that Begin has admitted.
func (a *Admission) End(p Party) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connections.leave(p.key)
}

// Handshake counts a handshake with somebody at from. It fails with ErrTooManyHandshakes if there
// have been too many.
func (a *Admission) Handshake(from Source, now time.Time) error {
	if !a.handshakes.take(from, now) {
		handshakesRefused.Inc()
		return ErrTooManyHandshakes
	}
	return nil
}

// Enter gives a link from a source a slot among the unauthenticated links, or says which limit is
// in the way. holder stands for the link. Where another link has to make room, displaced is that
// one's holder: the caller resets that link, and it is counted until its own slot has ended.
func (a *Admission) Enter(
	holder any, from Source, now time.Time,
) (s *Slot, displaced any, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, old, err := a.links.admit(from, now)
	if err != nil {
		linksRefused.Inc()
		return nil, nil, err
	}
	unauthenticatedNow.Inc()
	s.owner, s.holder = a, holder
	if old != nil {
		linksDisplaced.Inc()
		displaced, old.holder = old.holder, nil
	}
	return s, displaced, nil
}

// Links returns how many links are unauthenticated, and how many of authenticated peers make their
// source known.
func (a *Admission) Links() (unauthenticated, authenticated int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.links.taken(), a.links.known.links
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

// IsZero tells whether p is nobody.
func (p Party) IsZero() bool { return p.key == nil }

package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"sync"

	"github.com/secureportal/sp/route/admission"
)

// Maker makes a node's instance of a transport.
type Maker func(Config) Transport

// registry is all transports, by the scheme of their addresses: one line each.
var registry = struct {
	sync.RWMutex
	makers map[string]Maker
}{makers: map[string]Maker{
	"tcp":     newTCP,
	"unix":    newUnix,
	"tls":     newTLS,
	"ws":      newWebSocket,
	"wss":     newWebSocketTLS,
	"quic":    newQUIC,
	bleScheme: newBLE,
	"nats":    newNATS,
	"kafka":   newKafka,
}}

// steps are the words that begin something else in the text of a route.
var steps = []string{"ip4", "ip6", "dnsaddr", "service", "secure", abstractScheme, randomWord}

var validScheme = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// Register adds a transport that is not in this package. Its addresses are written scheme:REST, and
// /scheme/REST in the long form of routes; the Network of its links' addresses is the scheme.
// It is meant for init: it panics where there is such a scheme already, or it is not a word of
// letters, digits and dashes.
func Register(scheme string, m Maker) {
	registry.Lock()
	defer registry.Unlock()
	_, twice := registry.makers[scheme]
	if twice || slices.Contains(steps, scheme) || !validScheme.MatchString(scheme) {
		panic("transport: cannot register " + scheme)
	}
	registry.makers[scheme] = m
}

// maker returns the maker of a scheme's transport, or nil.
func maker(scheme string) Maker {
	registry.RLock()
	defer registry.RUnlock()
	return registry.makers[scheme]
}

// Set is the transports of one node. Each is made when it is first needed. It is safe for
// concurrent use.
type Set struct {
	config Config

	mu     sync.Mutex
	made   map[string]Transport
	closed bool
}

// NewSet returns the transports of a node. Close ends them.
func NewSet(c Config) *Set {
	return &Set{config: c.withDefaults(), made: make(map[string]Transport)}
}

// get returns the node's instance of a transport.
func (s *Set) get(scheme string) (Transport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.made[scheme]; ok {
		return t, nil
	}
	if s.closed {
		return nil, net.ErrClosed
	}
	m := maker(scheme)
	if m == nil {
		return nil, fmt.Errorf("there is no transport %q here", Printable(scheme))
	}
	t := m(s.config)
	s.made[scheme] = t
	return t, nil
}

// Dial makes a link to whoever listens at a.
func (s *Set) Dial(ctx context.Context, a Address) (Link, error) {
	t, err := s.get(Scheme(a))
	if err != nil {
		return nil, err
	}
	return t.Dial(ctx, a)
}

// answered is a transport at which others may answer a dialer than who was meant, and it can be
// another one the next time.
type answered interface {
	proved(a Address)
	doubt(a Address) bool
}

// Proved is to be told when the node that answered last at a has proved who it is.
func (s *Set) Proved(a Address) {
	if t, ok := s.answered(a); ok {
		t.proved(a)
	}
}

// Doubt is to be told when a node that answered at a has not. It reports whether somebody else may
// answer the next time; he who has is given no more links then.
func (s *Set) Doubt(a Address) bool {
	t, ok := s.answered(a)
	return ok && t.doubt(a)
}

func (s *Set) answered(a Address) (answered, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.made[Scheme(a)].(answered)
	return t, ok
}

// Listen listens at a for links. The error says where.
func (s *Set) Listen(ctx context.Context, a Address) (net.Listener, error) {
	scheme := Scheme(a)
	if IsHanded(a) {
		scheme = "tcp"
	}
	t, err := s.get(scheme)
	if err != nil {
		return nil, CannotListen(a, err)
	}
	l, err := t.Listen(ctx, a)
	if err != nil {
		return nil, CannotListen(a, err)
	}
	return linkListener{l}, nil
}

// Source says where a peer is, by the RemoteAddr of a connection. The zero Source is that of all
// whom no transport knows, and of a peer without an address.
func (s *Set) Source(peer net.Addr) admission.Source {
	if peer == nil {
		return admission.Source{}
	}
	if datagrams, ok := peer.(*net.UDPAddr); ok {
		return admission.FromIP(datagrams.AddrPort().Addr())
	}
	t, err := s.get(peer.Network())
	if err != nil {
		return admission.Source{}
	}
	return t.Source(peer)
}

// Close closes all transports, once their links have been closed. None is made any more.
func (s *Set) Close() error {
	s.mu.Lock()
	made := s.made
	s.made, s.closed = nil, true
	s.mu.Unlock()
	var errs []error
	for _, t := range made {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}

// linkListener is a Listener as a net.Listener: all that it accepts are links.
type linkListener struct{ Listener }

// Accept implements net.Listener.
func (l linkListener) Accept() (net.Conn, error) { return l.Listener.Accept() }

// ListenError says where nobody can listen, and why.
type ListenError struct {
	Address Address
	Err     error // without the words of package net around it
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("cannot listen at %s: %v", Format(e.Address), e.Err)
}

// Unwrap returns why.
func (e *ListenError) Unwrap() error { return e.Err }

// CannotListen returns a *ListenError for what has kept somebody from listening at a.
func CannotListen(a Address, err error) error {
	var operation *net.OpError
	if errors.As(err, &operation) {
		err = operation.Err
	}
	return &ListenError{Address: a, Err: err}
}

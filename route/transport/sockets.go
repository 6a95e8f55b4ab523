package transport

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/handed"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/wire"
)

// Sockets are the listening sockets of a process. Between Hold and its end, one that who listened
// at it has closed goes on to listen, for who listens at the same address next: he has whoever has
// come meanwhile, and nobody is refused in between. A nil *Sockets holds none. It is safe for
// concurrent use.
type Sockets struct {
	*pool
	user string
}

type pool struct {
	mu      sync.Mutex // guards what follows
	holding int
	parked  []*socket // that nobody listens at
}

// NewSockets returns what holds none so far.
func NewSockets() *Sockets { return &Sockets{pool: new(pool)} }

// Of returns the same sockets for one of several users, who gets none of another's free ports.
func (s *Sockets) Of(user string) *Sockets { return &Sockets{s.pool, user} }

// Hold has sockets held until end is called, once.
func (s *Sockets) Hold() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding++
	return func() {
		s.mu.Lock()
		var over []*socket
		s.holding--
		if s.holding == 0 {
			over, s.parked = s.parked, nil
		}
		s.mu.Unlock()
		closeAll(over)
	}
}

// socketKey is what a socket was asked for as.
type socketKey struct {
	at      Address
	guarded bool
	user    string // of a free port
}

// IsFreePort tells whether to listen at a takes a port that is free.
func IsFreePort(a Address) bool {
	return a.Kind != wire.Unix && a.Kind != wire.Local && a.Port == 0
}

// listenSocket listens at a TCP or Unix address, or at what was handed to this process, for
// applications if guarded is set, and else for links.
func listenSocket(ctx context.Context, c Config, a Address, guarded bool) (net.Listener, error) {
	open := func() (base, error) {
		with := netio.ListenConfig()
		if guarded {
			with = netio.GuardedListenConfig()
		}
		switch {
		case IsHanded(a):
			return listenHanded(with, a)
		case Scheme(a) == "tcp":
			return listenTCP(ctx, with, a)
		case Scheme(a) == "unix":
			return listenUnix(ctx, with, a.Name, c.SocketMode)
		}
		return nil, errNoSocket
	}
	if c.Sockets == nil {
		l, err := open()
		if err != nil {
			return nil, err // and not a base that is none
		}
		return l, nil
	}
	key := socketKey{at: a, guarded: guarded}
	if IsFreePort(a) {
		key.user = c.Sockets.user
	}
	if held := c.Sockets.take(key); held != nil && held.isUsable(c.SocketMode) {
		return c.Sockets.lease(held), nil
	} else if held != nil {
		_ = held.Close()
	}
	l, err := open()
	if (IsInUse(err) || errors.Is(err, handed.ErrUsed)) && c.Sockets.giveUp(a) {
		l, err = open()
	}
	if err != nil {
		return nil, err
	}
	return c.Sockets.lease(&socket{base: l, key: key}), nil
}

func (p *pool) lease(s *socket) *lease { return &lease{socket: s, pool: p} }

// take returns the socket that is held for a key, or nil.
func (p *pool) take(key socketKey) *socket {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.parked, func(s *socket) bool { return s.key == key })
	if i < 0 {
		return nil
	}
	s := p.parked[i]
	p.parked = slices.Delete(p.parked, i, i+1)
	return s
}

// giveUp closes the held sockets that are in the way of one at a, and tells whether there were any.
func (p *pool) giveUp(a Address) bool {
	inTheWay := func(s *socket) bool {
		if IsHanded(a) {
			return IsHanded(s.key.at) // under whichever name
		}
		at, ok := ListensAt(s.base)
		if !ok || Scheme(at) != Scheme(a) {
			return false
		}
		return Scheme(a) == "unix" && at.Name == a.Name || Scheme(a) == "tcp" && at.Port == a.Port
	}
	p.mu.Lock()
	var over []*socket
	p.parked = slices.DeleteFunc(p.parked, func(s *socket) bool {
		if inTheWay(s) {
			over = append(over, s)
			return true
		}
		return false
	})
	p.mu.Unlock()
	closeAll(over)
	return len(over) > 0
}

// giveBack takes a socket at which nobody listens any more. It is held, or ends.
func (p *pool) giveBack(l *lease) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holding == 0 {
		if !l.end(ended) {
			return nil
		}
		return l.socket.Close()
	}
	if !l.end(released) {
		return nil
	}
	_ = l.socket.SetDeadline(passed) // before somebody else has it
	p.parked = append(p.parked, l.socket)
	return nil
}

var passed = time.Unix(1, 0)

func closeAll(all []*socket) {
	for _, s := range all {
		_ = s.Close()
	}
}

// socket is one that may change hands.
type socket struct {
	base
	key socketKey

	accepting sync.Mutex // held while somebody accepts: the next one waits for the one before

	mu   sync.Mutex // guards what follows, and the leases' stages
	late []net.Conn // accepted for who listens no more, and so for the next one
	over bool       // there is no next one
}

// isUsable tells whether connections still come to a held socket, and gives it the mode that it is
// to have if it has a file.
func (s *socket) isUsable(mode fs.FileMode) bool {
	if Scheme(s.key.at) != "unix" || isAbstract(s.key.at.Name) {
		return true
	}
	info, err := os.Lstat(s.key.at.Name)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false // somebody has removed it
	}
	return info.Mode().Perm() == mode || os.Chmod(s.key.at.Name, mode) == nil
}

// Close implements net.Listener.
func (s *socket) Close() error {
	s.mu.Lock()
	late := s.late
	s.late, s.over = nil, true
	s.mu.Unlock()
	for _, c := range late {
		_ = c.Close()
	}
	return s.base.Close()
}

func (s *socket) takeLate() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.late) == 0 {
		return nil
	}
	c := s.late[0]
	s.late = s.late[1:]
	return c
}

// lease is a listener at a socket of a pool, until it is closed.
//
//	          ┌──▶ released   the socket is held for another one
//	open ─────┤
//	          └──▶ ended      the socket is closed as well
type lease struct {
	*socket
	pool  *pool
	begun bool  // guarded by accepting
	stage stage // guarded by the socket's mu
}

type stage uint8

const (
	open stage = iota
	released
	ended
)

// Accept implements net.Listener. Whoever has been accepted when the lease is closed belongs to the
// next one who listens, and where there is none to this one, who is told of the end after that.
func (l *lease) Accept() (net.Conn, error) {
	l.accepting.Lock()
	defer l.accepting.Unlock()
	if !l.begun {
		l.begun = true
		_ = l.socket.SetDeadline(time.Time{}) // for Close sets it anew
	}
	if l.is(released) {
		return nil, net.ErrClosed
	}
	if c := l.takeLate(); c != nil {
		return c, nil
	}
	c, err := l.socket.Accept()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stage != released:
		return c, err
	case err == nil && l.over:
		_ = c.Close()
	case err == nil:
		l.late = append(l.late, c)
	}
	return nil, net.ErrClosed
}

func (l *lease) is(s stage) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stage == s
}

// end goes on to a last stage, and reports false if it was there already.
func (l *lease) end(s stage) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage != open {
		return false
	}
	l.stage = s
	return true
}

// Close implements net.Listener. It does not wait for Accept.
func (l *lease) Close() error { return l.pool.giveBack(l) }

package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"

	"github.com/secureportal/sp/wire"
)

// Localhost is the host that stands for this machine, in every family of addresses that it has.
const Localhost = "localhost"

// loopbackTries is how many free ports of the one family are tried until one is free in the other.
const loopbackTries = 16

// listenTCP listens at a with c. A written address is that one and no other: 0.0.0.0 is all of
// IPv4, while [::] and no host are everywhere. Localhost is both loopbacks, since clients that look
// it up take the one or the other.
func listenTCP(ctx context.Context, c *net.ListenConfig, a Address) (net.Listener, error) {
	switch {
	case IsLocalhost(a):
		return listenLoopbacks(ctx, c, a.Port)
	case a.Kind == wire.IP4:
		return c.Listen(ctx, "tcp4", Format(a))
	}
	return c.Listen(ctx, "tcp", Format(a))
}

// IsLocalhost tells whether a has the host that stands for this machine.
func IsLocalhost(a Address) bool {
	return (a.Kind == wire.DNS || a.Kind == wire.UDP) && strings.EqualFold(a.Name, Localhost)
}

// listenLoopbacks listens on both loopbacks, at the same port, or on the one that this machine has.
// A port that somebody has on one of the two is taken: clients would reach him and not us.
func listenLoopbacks(ctx context.Context, c *net.ListenConfig, port uint16) (net.Listener, error) {
	var taken error
	for range loopbackTries {
		four, err := c.Listen(ctx, "tcp4", loopbackAt("127.0.0.1", port))
		if err != nil {
			if IsInUse(err) {
				return nil, err
			}
			six, err6 := c.Listen(ctx, "tcp6", loopbackAt("::1", port))
			if err6 != nil {
				return nil, err
			}
			return six, nil
		}
		at := uint16(four.Addr().(*net.TCPAddr).Port)
		six, err := c.Listen(ctx, "tcp6", loopbackAt("::1", at))
		switch {
		case err == nil:
			return newLoopbacks(at, four, six), nil
		case !IsInUse(err):
			return four, nil // there is no IPv6 here
		}
		_ = four.Close()
		if port != 0 {
			return nil, fmt.Errorf("%s: %w", loopbackAt("::1", at), errors.Unwrap(err))
		}
		taken = err
	}
	return nil, taken
}

func loopbackAt(ip string, port uint16) string {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port).String()
}

// wsaInUse is what Windows says for EADDRINUSE.
const wsaInUse = syscall.Errno(10048)

// IsInUse tells whether err says that somebody listens there already.
func IsInUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaInUse)
}

// loopbacks is a listener on both loopbacks. It is safe for concurrent use.
type loopbacks struct {
	port      uint16
	listeners []net.Listener

	accepted chan acceptance
	closing  chan struct{}
	once     sync.Once
	tasks    sync.WaitGroup
}

type acceptance struct {
	conn net.Conn
	err  error
}

func newLoopbacks(port uint16, listeners ...net.Listener) *loopbacks {
	l := &loopbacks{
		port: port, listeners: listeners,
		accepted: make(chan acceptance), closing: make(chan struct{}),
	}
	for _, one := range listeners {
		l.tasks.Go(func() { l.run(one) })
	}
	return l
}

// run hands what one accepts, errors included, to whoever calls Accept, and takes nothing before
// somebody has: what waits, waits in the kernel.
func (l *loopbacks) run(one net.Listener) {
	for {
		c, err := one.Accept()
		select {
		case l.accepted <- acceptance{c, err}:
		case <-l.closing:
			if err == nil {
				_ = c.Close()
			}
			return
		}
	}
}

// Accept implements net.Listener.
func (l *loopbacks) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closing:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It returns when nothing is accepted any more.
func (l *loopbacks) Close() error {
	var errs []error
	l.once.Do(func() {
		close(l.closing)
		for _, one := range l.listeners {
			errs = append(errs, one.Close())
		}
	})
	l.tasks.Wait()
	return errors.Join(errs...)
}

// Addr implements net.Listener: the IPv4 one of the two.
func (l *loopbacks) Addr() net.Addr { return l.listeners[0].Addr() }

// address is where it listens.
func (l *loopbacks) address() Address {
	return Address{Kind: wire.DNS, Name: Localhost, Port: l.port}
}

// ListensAt returns where l, which a Set or ListenGuarded has made, listens: an address that
// ParseListen reads, and that stands for all of it. It reports false for what no transport here has
// made.
func ListensAt(l net.Listener) (Address, bool) {
	switch inner := l.(type) {
	case linkListener:
		if s, ok := inner.Listener.(sockets); ok {
			return ListensAt(s.Listener)
		}
	case *loopbacks:
		return inner.address(), true
	case interface{ ListensAt() Address }: // of datagrams
		return inner.ListensAt(), true
	}
	return FromAddr(l.Addr())
}

package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/secureportal/sp/wire"
)

// Localhost is the host that stands for this machine, in every family of addresses that it has.
const Localhost = "localhost"

// loopbackTries is how many free ports of the one family are tried until one is free in the other.
const loopbackTries = 16

// listenTCP listens at a with c. A written address is that one and no other: 0.0.0.0 is all of
// IPv4, while [::] and no host are everywhere. Localhost is both loopbacks, since clients that look
// it up take the one or the other.
func listenTCP(ctx context.Context, c *net.ListenConfig, a Address) (base, error) {
	switch {
	case IsLocalhost(a):
		return listenLoopbacks(ctx, c, a.Port)
	case a.Kind == wire.IP4:
		return listenBase(ctx, c, "tcp4", Format(a))
	}
	return listenBase(ctx, c, "tcp", Format(a))
}

// base is a listening socket, or several that are one.
type base interface {
	net.Listener
	// SetDeadline ends Accept at a time, and none if that is zero.
	SetDeadline(t time.Time) error
}

// listenBase listens with c.
func listenBase(ctx context.Context, c *net.ListenConfig, network, at string) (base, error) {
	l, err := c.Listen(ctx, network, at)
	if err != nil {
		return nil, err
	}
	return l.(base), nil // TCP and Unix sockets are
}

// IsLocalhost tells whether a has the host that stands for this machine.
func IsLocalhost(a Address) bool {
	return (a.Kind == wire.DNS || a.Kind == wire.UDP) && strings.EqualFold(a.Name, Localhost)
}

// listenLoopbacks listens on both loopbacks, at the same port, or on the one that this machine has.
func listenLoopbacks(ctx context.Context, c *net.ListenConfig, port uint16) (base, error) {
	all, at, err := onLoopbacks(port, func(at string) (base, uint16, error) {
		l, err := listenBase(ctx, c, "tcp", at)
		if err != nil {
			return nil, 0, err
		}
		return l, uint16(l.Addr().(*net.TCPAddr).Port), nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(all) == 1:
		return all[0], nil
	}
	return newLoopbacks(at, all[0], all[1]), nil
}

// onLoopbacks listens on both loopbacks, at the same port, or on the one that this machine has. A
// port that somebody has on one of the two is taken: clients would reach him and not us.
func onLoopbacks[L io.Closer](
	port uint16, listen func(at string) (L, uint16, error),
) (all []L, at uint16, err error) {
	var taken error
	for range loopbackTries {
		four, at, err := listen(loopbackAt("127.0.0.1", port))
		if err != nil {
			if IsInUse(err) {
				return nil, 0, err
			}
			six, at, err6 := listen(loopbackAt("::1", port))
			if err6 != nil {
				return nil, 0, err
			}
			return []L{six}, at, nil
		}
		six, _, err := listen(loopbackAt("::1", at))
		switch {
		case err == nil:
			return []L{four, six}, at, nil
		case !IsInUse(err):
			return []L{four}, at, nil // there is no IPv6 here
		}
		_ = four.Close()
		if port != 0 {
			return nil, 0, fmt.Errorf("%s: %w", loopbackAt("::1", at), errors.Unwrap(err))
		}
		taken = err
	}
	return nil, 0, taken
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

// loopbacks is a listener on both loopbacks.
type loopbacks struct {
	*several
	port uint16
}

func newLoopbacks(port uint16, listeners ...net.Listener) loopbacks {
	return loopbacks{newSeveral(listeners...), port}
}

// address is where it listens.
func (l loopbacks) address() Address {
	return Address{Kind: wire.DNS, Name: Localhost, Port: l.port}
}

// ListensAt returns where l, which a Set or ListenGuarded has made, listens: an address that
// ParseListen reads, and that stands for all of it, but for what ListensAlsoAt returns. It reports
// false for what no transport here has made.
func ListensAt(l net.Listener) (Address, bool) {
	switch inner := innermost(l).(type) {
	case loopbacks:
		return inner.address(), true
	case interface{ ListensAt() Address }: // of datagrams
		return inner.ListensAt(), true
	default:
		return FromAddr(inner.Addr())
	}
}

// ListensAlsoAt returns where else l listens: several sockets may have been handed to this process
// under one name.
func ListensAlsoAt(l net.Listener) (all []Address) {
	if s, ok := innermost(l).(*several); ok {
		for _, one := range s.listeners[1:] {
			if a, ok := ListensAt(one); ok {
				all = append(all, a)
			}
		}
	}
	return all
}

// Interruptible is a Listener by which nobody can come while something else is gone that it needs,
// such as a broker. It comes back by itself when that does.
type Interruptible interface {
	// Down returns why nobody can come now, or nil, and what is closed when that is another answer;
	// nil if nobody is told of that.
	Down() (changed <-chan struct{}, why error)
}

// Down asks l, which a Set has made, whether nobody can come by it now: see Interruptible.
func Down(l net.Listener) (changed <-chan struct{}, why error) {
	if outer, ok := l.(linkListener); ok {
		if inner, ok := outer.Listener.(Interruptible); ok {
			return inner.Down()
		}
	}
	return nil, nil
}

// innermost returns what knows where l listens.
func innermost(l net.Listener) net.Listener {
	switch outer := l.(type) {
	case linkListener:
		if s, ok := outer.Listener.(sockets); ok {
			return innermost(s.Listener)
		}
	case *lease:
		return outer.socket.base
	}
	return l
}

package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// errNoSocket says that applications and services are reached over sockets only.
var errNoSocket = fmt.Errorf("neither host:port nor unix:PATH: %w", errors.ErrUnsupported)

// ListenGuarded listens at a, which is TCP or Unix, or was handed to this process, for applications
// rather than for links: when this process is killed, the kernel resets their connections and does
// not end them, where the system allows it. Of c nothing counts but its Sockets, and the mode of
// the file of a Unix socket. The error says where. Whoever ends such a connection says so first,
// with SetLinger(-1).
func ListenGuarded(ctx context.Context, a Address, c Config) (net.Listener, error) {
	return listenOrSay(ctx, a, c, true)
}

// ListenPlain listens at a as ListenGuarded does, for who closes connections that are to end: what
// has been written to them arrives.
func ListenPlain(ctx context.Context, a Address, c Config) (net.Listener, error) {
	return listenOrSay(ctx, a, c, false)
}

func listenOrSay(ctx context.Context, a Address, c Config, guarded bool) (net.Listener, error) {
	l, err := listenSocket(ctx, c.withDefaults(), a, guarded)
	if err != nil {
		return nil, CannotListen(a, err)
	}
	return l, nil
}

// DialGuarded dials the service at a, which is TCP or Unix, with a connection that is guarded as
// those of ListenGuarded are. timeout bounds it besides ctx.
func DialGuarded(ctx context.Context, a Address, timeout time.Duration) (net.Conn, error) {
	switch Scheme(a) {
	case "tcp":
		return netio.DialGuarded(ctx, "tcp", Format(a), timeout)
	case "unix":
		return netio.DialGuarded(ctx, "unix", a.Name, timeout)
	}
	return nil, errNoSocket
}

// DialGuardedWhere is DialGuarded for a service that somebody else has asked for, over TCP: before
// it connects to an address, one that a is or for which its name stands just now, it asks check. An
// error keeps it from that one.
func DialGuardedWhere(
	ctx context.Context, a Address, timeout time.Duration, check func(netip.AddrPort) error,
) (net.Conn, error) {
	if Scheme(a) != "tcp" {
		return nil, errNoSocket
	}
	return netio.DialGuardedWhere(ctx, Format(a), timeout, check)
}

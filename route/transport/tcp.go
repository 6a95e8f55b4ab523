package transport

import (
	"context"
	"net"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
)

// tcp makes TCP connections. They have half-close, reset and splice. Go has turned Nagle's
// algorithm off already.
type tcp struct{ config Config }

func newTCP(c Config) Transport { return tcp{c} }

// Dial implements Transport.
func (t tcp) Dial(ctx context.Context, a Address) (Link, error) {
	c, err := netio.Dial(ctx, "tcp", Format(a), t.config.ConnectTimeout)
	if err != nil {
		return nil, err
	}
	return ToLink(c)
}

// Listen implements Transport.
func (tcp) Listen(ctx context.Context, a Address) (Listener, error) {
	l, err := netio.ListenConfig().Listen(ctx, "tcp", Format(a))
	if err != nil {
		return nil, err
	}
	return sockets{l}, nil
}

// Source implements Transport: an IPv4 address, or an IPv6 /64.
func (tcp) Source(peer net.Addr) admission.Source {
	t, ok := peer.(*net.TCPAddr)
	if !ok {
		return admission.Source{}
	}
	return admission.FromIP(t.AddrPort().Addr())
}

// Close implements Transport. Connections have nothing in common.
func (tcp) Close() error { return nil }

// sockets is a Listener for sockets.
type sockets struct{ net.Listener }

// Accept implements Listener.
func (l sockets) Accept() (Link, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return ToLink(c)
}

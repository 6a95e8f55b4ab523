package transport

import (
	"context"
	"net"
	"net/netip"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
	"github.com/secureportal/sp/wire"
)

// tcp makes TCP connections. They have half-close, reset and splice. Go has turned Nagle's
// algorithm off already.
type tcp struct{ config Config }

func newTCP(c Config) Transport { return tcp{c} }

// Dial implements Transport.
func (t tcp) Dial(ctx context.Context, a Address) (Link, error) {
	c, err := netio.DialChecked(ctx, "tcp", Format(a), t.config.ConnectTimeout, t.check(a))
	if err != nil {
		return nil, err
	}
	return ToLink(c)
}

// check returns what is asked about each address that a name stands for. A name that has been
// compared says nothing of where it leads: this is the place where that is known.
func (t tcp) check(a Address) func(netip.AddrPort) error {
	if t.config.Reach == nil || a.Kind != wire.DNS {
		return nil
	}
	return func(at netip.AddrPort) error { return t.config.Reach(a, at.Addr()) }
}

// Listen implements Transport.
func (tcp) Listen(ctx context.Context, a Address) (Listener, error) {
	l, err := listenTCP(ctx, netio.ListenConfig(), a)
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

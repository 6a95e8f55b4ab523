package transport

import (
	"context"
	"net"
	"net/netip"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
)

// tcp makes TCP connections. They have half-close, reset and splice. Go has turned Nagle's
// algorithm off already.
type tcp struct{ config Config }

func newTCP(c Config) Transport { return tcp{c} }

// Dial implements Transport.
func (t tcp) Dial(ctx context.Context, a Address) (Link, error) {
	return dialSocket(ctx, t.config, a)
}

// dialSocket makes the TCP connection that a is, or is over.
func dialSocket(ctx context.Context, config Config, a Address) (Link, error) {
	if config.Proxy != nil {
		if p := config.Proxy(a); p != nil {
			return dialThrough(ctx, config, p, a)
		}
	}
	c, err := netio.DialFrom(ctx, Format(beneath(a)), config.ConnectTimeout, checkReach(config, a),
		config.From)
	if err != nil {
		return nil, err
	}
	return ToLink(c)
}

// checkReach returns what is asked about each address that a name stands for. A name that has been
// compared says nothing of where it leads: this is the place where that is known.
func checkReach(config Config, a Address) func(netip.AddrPort) error {
	if config.Reach == nil || !a.IsNamed() {
		return nil
	}
	return func(at netip.AddrPort) error { return config.Reach(a, at.Addr()) }
}

// Listen implements Transport. It does so for sockets as well that were handed to this process.
func (t tcp) Listen(ctx context.Context, a Address) (Listener, error) {
	l, err := listenSocket(ctx, t.config, a, false)
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

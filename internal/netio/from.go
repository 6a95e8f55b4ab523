package netio

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// From is where connections go out from: an address of this machine, or an interface. The zero
// value leaves that to the system.
type From struct {
	Addr      netip.Addr
	Interface string
}

// bind has a dialer go out from there, to an address that is one and no name.
func (f From) bind(d *net.Dialer, address string) error {
	if f == (From{}) {
		return nil
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	local, err := f.local(to.Addr())
	if err != nil {
		return err
	}
	if f.Interface != "" {
		d.Control = bindToInterface(d.Control, f.Interface)
	}
	d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	return nil
}

// local returns the address of this machine's that something goes out from to another.
func (f From) local(to netip.Addr) (netip.Addr, error) {
	local := f.Addr
	if f.Interface != "" {
		var err error
		if local, err = addressOf(f.Interface, to); err != nil {
			return local, err
		}
	}
	if local.Unmap().Is4() != to.Unmap().Is4() {
		return local, fmt.Errorf("%v is not reached from %v, which is of the other family", to, local)
	}
	return local, nil
}

// OpenUDP opens a socket that sends to an address from there, from whichever port. Without an
// address of its own it goes on from another one when this machine's has changed.
func (f From) OpenUDP(ctx context.Context, to netip.Addr) (*net.UDPConn, error) {
	network := "udp6"
	if to.Unmap().Is4() {
		network = "udp4"
	}
	at := ":0"
	var c net.ListenConfig
	if f != (From{}) {
		local, err := f.local(to)
		if err != nil {
			return nil, err
		}
		at = netip.AddrPortFrom(local, 0).String()
		if f.Interface != "" {
			c.Control = bindToInterface(nil, f.Interface)
		}
	}
	p, err := c.ListenPacket(ctx, network, at)
	if err != nil {
		return nil, err
	}
	return p.(*net.UDPConn), nil
}

// addressOf returns the address that an interface has just now, of the family that goes to another
// one. A link-local one is for those only.
func addressOf(name string, to netip.Addr) (netip.Addr, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("this machine has no interface %s", name)
	}
	all, err := i.Addrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, one := range all {
		p, err := netip.ParsePrefix(one.String())
		if err != nil {
			continue
		}
		a := p.Addr().Unmap()
		if a.Is4() == to.Unmap().Is4() && a.IsLinkLocalUnicast() == to.IsLinkLocalUnicast() {
			if a.IsLinkLocalUnicast() && a.Is6() {
				a = a.WithZone(name)
			}
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("interface %s has no address to reach %v from", name, to)
}

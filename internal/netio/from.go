package netio

import (
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
	local := f.Addr
	if f.Interface != "" {
		if local, err = addressOf(f.Interface, to.Addr()); err != nil {
			return err
		}
		bindToInterface(d, f.Interface)
	}
	if local.Unmap().Is4() != to.Addr().Unmap().Is4() {
		return fmt.Errorf("%v is not reached from %v, which is of the other family", to.Addr(), local)
	}
	d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	return nil
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

package netio

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindToInterface has the kernel use that interface, whatever its routes say. Where it does not let
// us, the address alone has to do.
func bindToInterface(d *net.Dialer, name string) {
	before := d.Control
	d.Control = func(network, address string, raw syscall.RawConn) error {
		if before != nil {
			if err := before(network, address, raw); err != nil {
				return err
			}
		}
		return raw.Control(func(fd uintptr) { _ = unix.BindToDevice(int(fd), name) })
	}
}

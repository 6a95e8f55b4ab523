package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// socketControl is what is done to a socket before it is used.
type socketControl = func(network, address string, raw syscall.RawConn) error

// bindToInterface has the kernel use that interface, whatever its routes say, after what is done
// before. Where it does not let us, the address alone has to do.
func bindToInterface(before socketControl, name string) socketControl {
	return func(network, address string, raw syscall.RawConn) error {
		if before != nil {
			if err := before(network, address, raw); err != nil {
				return err
			}
		}
		return raw.Control(func(fd uintptr) { _ = unix.BindToDevice(int(fd), name) })
	}
}

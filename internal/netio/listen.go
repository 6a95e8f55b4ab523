package netio

import (
	"net"
	"syscall"
)

// GuardedListenConfig is ListenConfig for connections that the kernel resets, and does not end,
// when this process is killed: from the first moment on, where the system allows it, for they
// inherit that from the listening socket. Whoever ends one says so first, with SetLinger(-1).
func GuardedListenConfig() *net.ListenConfig {
	c := ListenConfig()
	control := c.Control
	c.Control = func(network, address string, raw syscall.RawConn) error {
		if control != nil {
			if err := control(network, address, raw); err != nil {
				return err
			}
		}
		return guardControl(network, address, raw)
	}
	return c
}

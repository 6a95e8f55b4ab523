//go:build unix

package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// guardControl has a TCP socket reset when it is closed without more ado, and gives urgent data in
// its place among the rest: out of line, a byte would be lost, since nobody here asks for it.
func guardControl(network, _ string, raw syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	control := raw.Control(func(fd uintptr) {
		linger := &unix.Linger{Onoff: 1}
		err = optional(unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, linger))
		if err == nil {
			err = optional(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1))
		}
	})
	if control != nil {
		return control
	}
	return err
}

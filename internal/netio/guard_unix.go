//go:build unix

package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// guardControl has a TCP socket reset when it is closed without more ado.
func guardControl(network, _ string, raw syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	control := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	if control != nil {
		return control
	}
	return err
}

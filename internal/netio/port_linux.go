package netio

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// canSharePorts: an explicit port is shared by sockets of one user that all say so.
const canSharePorts = true

// sharePort is done to each socket that is to share its port, before it gets it.
func sharePort(_, _ string, raw syscall.RawConn) error {
	var err error
	control := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	})
	if control != nil {
		return control
	}
	return err
}

// limitUnacknowledged ends a connection on which something has not been acknowledged for a while.
// It is an optional call: keepalives and who uses the connection notice as well, later.
func limitUnacknowledged(c *net.TCPConn, after time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		ms := int(after.Milliseconds())
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, ms)
	})
}

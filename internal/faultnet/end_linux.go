package faultnet

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsent returns how many bytes the peer's kernel has not acknowledged.
func unsent(c *net.TCPConn) (n int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		if n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err != nil {
			n = 0
		}
	})
	return n
}

// waitReset is end.waitReset. After a FIN a read returns EOF for ever, even
// when a RST has come; the socket's error tells, and the poller calls on each change.
func waitReset(c *net.TCPConn) (reset bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	raw.Read(func(fd uintptr) bool {
		e, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		reset = err == nil && e != 0
		return reset
	})
	return reset
}

package transport

import (
	"net"

	sys "golang.org/x/sys/unix"
)

// tellRefusals has the kernel say, on a socket that is not connected, that what was sent did not
// find anybody. Where it does not do that, who is not there does not answer.
func tellRefusals(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = sys.SetsockoptInt(int(fd), sys.IPPROTO_IP, sys.IP_RECVERR, 1)
		_ = sys.SetsockoptInt(int(fd), sys.IPPROTO_IPV6, sys.IPV6_RECVERR, 1)
	})
}

// forgetRefusals takes what the kernel keeps of refusals, beside the error, out of the room for
// what comes.
func forgetRefusals(c *net.UDPConn) {
	const most = 64 // at a time
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		var about [128]byte
		for range most {
			_, _, _, _, err := sys.Recvmsg(int(fd), nil, about[:],
				sys.MSG_ERRQUEUE|sys.MSG_DONTWAIT)
			if err != nil {
				return
			}
		}
	})
}

package netio

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// SetUserTimeout bounds how long sent data may stay unacknowledged before c fails (RFC 5482).
func SetUserTimeout(c *net.TCPConn, d time.Duration) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return set
}

// wasReset tells, of a TCP socket that has no more to read and whose own direction is open, whether its other end has
// reset it. Had it ended its direction, the socket would be in CLOSE_WAIT.
func (s *Socket) wasReset() bool {
	if _, ok := s.stream.(*net.TCPConn); !ok {
		return false
	}
	const tcpClose = 7
	closed := false
	_ = s.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		closed = err == nil && info.State == tcpClose
	})
	return closed
}

package netio

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// wasReset tells, of a TCP socket that has no more to read and whose own direction is open, whether
// its other end has reset it. Had it ended its direction, the socket would be in CLOSE_WAIT.
func (s *Socket) wasReset() bool {
	if _, ok := s.stream.(*net.TCPConn); !ok {
		return false
	}
	closed := false
	_ = s.raw.Control(func(fd uintptr) { closed = isClosed(fd) })
	return closed
}

// isClosed tells whether the kernel has a TCP socket in the state CLOSE.
func isClosed(fd uintptr) bool {
	const tcpClose = 7
	return tcpInfoStart(fd)[tcpiState] == tcpClose
}

// AwaitReset implements ResetAwaiter. After the end of data a read gives that end for ever,
// whatever comes; the poller, which calls on each change, is told.
func (s *Socket) AwaitReset() error {
	s.awaiting.Store(true)
	if s.ended.Load() {
		return nil // both directions have, and there is nothing to be asked
	}
	failed := false
	err := s.raw.Read(func(fd uintptr) bool {
		failed = hasFailed(fd) || s.wasReset()
		return failed || s.ended.Load()
	})
	switch {
	case failed && !s.ended.Load():
		return s.readError(syscall.ECONNRESET)
	case s.ended.Load():
		return nil
	}
	return err
}

// hasFailed tells whether the kernel has an error to report on fd, without taking it away. A write
// takes it, and then the state remains: see wasReset.
func hasFailed(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	_, err := unix.Poll(fds, 0)
	if isRefusal(err) {
		_, err = unix.Ppoll(fds, &unix.Timespec{}, nil)
	}
	return err == nil && fds[0].Revents&unix.POLLERR != 0
}

// unsent returns how many bytes that have been written the other end's kernel has not acknowledged.
func (s *Socket) unsent() int {
	if _, ok := s.stream.(*net.TCPConn); !ok {
		return 0
	}
	n := 0
	_ = s.raw.Control(func(fd uintptr) {
		n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	})
	return n
}

//go:build unix

package netio

import (
	"math"

	"golang.org/x/sys/unix"
)

// takenPart is the part of its buffer that a socket takes at least when it says that it can be
// written to: a third on Linux, but for what the kernel needs itself.
const takenPart = 4

// Takes implements Taker.
func (s *Socket) Takes() int {
	n := math.MaxInt
	_ = s.raw.Control(func(fd uintptr) {
		if !isWritable(fd) {
			n = 0
			return
		}
		size, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		if err == nil {
			n = size / takenPart
		}
	})
	return n
}

// AwaitTakes implements Taker.
func (s *Socket) AwaitTakes() { _ = s.raw.Write(isWritable) }

// isWritable tells whether a good part of a socket's buffer is free, or a write would fail. Asking
// has the kernel tell the poller when it is.
func isWritable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, 0)
	return n != 0 || err != nil && err != unix.EINTR
}

//go:build unix

package netio

import (
	"errors"

	"golang.org/x/sys/unix"
)

// What is waited for.
const (
	readable = unix.POLLIN
	writable = unix.POLLOUT
)

// mayGoOn tells whether err means no more than that it would have waited, and waits then.
func (s *SharedFile) mayGoOn(err error, events int16) bool {
	if !errors.Is(err, unix.EAGAIN) {
		return false
	}
	ready := false
	s.control(func(fd int) {
		waits := []unix.PollFd{{Fd: int32(fd), Events: events}}
		for err = unix.EINTR; err == unix.EINTR; {
			_, err = unix.Poll(waits, -1)
		}
		ready = err == nil && waits[0].Revents&unix.POLLNVAL == 0
	})
	return ready
}

// shutdown ends a socket's direction, and reports false if it is none.
func (s *SharedFile) shutdown() (isSocket bool, err error) {
	s.control(func(fd int) { err = unix.Shutdown(fd, unix.SHUT_WR) })
	if errors.Is(err, unix.ENOTCONN) { // the other end is gone, and knows
		err = nil
	}
	return !errors.Is(err, unix.ENOTSOCK), err
}

// lingerNot has a TCP connection be reset when it is closed. Of anything else it does nothing.
func (s *SharedFile) lingerNot() {
	s.control(func(fd int) {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
}

// control calls f with the descriptor, and not at all once the file is closed.
func (s *SharedFile) control(f func(fd int)) {
	raw, err := s.file.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

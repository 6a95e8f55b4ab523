//go:build unix

package netio

import "golang.org/x/sys/unix"

// Quiet implements Quieter.
func (s *Socket) Quiet() bool {
	var quiet bool
	err := s.raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = err == unix.EAGAIN || isRefusal(err) // which says nothing about the socket
	})
	return err == nil && quiet
}

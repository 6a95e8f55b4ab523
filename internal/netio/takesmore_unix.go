//go:build unix

package netio

import "golang.org/x/sys/unix"

// TakesMore implements MoreTaker.
func (s *Socket) TakesMore() bool {
	takes := false
	err := s.raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, 0)
		takes = err == nil && n > 0 && fds[0].Revents == unix.POLLOUT
	})
	return err == nil && takes
}

//go:build unix

package netio

import "golang.org/x/sys/unix"

func (s *Socket) tryReadInto(p []byte) int {
	n := 0
	_ = s.raw.Control(func(fd uintptr) {
		var err error
		if n, err = unix.Read(int(fd), p); err != nil && err != unix.EAGAIN && err != unix.EINTR {
			s.err, s.lost = err, true
		}
	})
	n = max(n, 0)
	s.received.Add(uint64(n))
	return n
}

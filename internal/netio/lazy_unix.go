//go:build unix

package netio

import (
	"io"
	"syscall"
)

// lazy is a Socket's state of ReadLazy, owned by its one caller. The callback is made once, so that
// a read allocates nothing.
type lazy struct {
	read func(fd uintptr) bool
	room Room
	err  error
	n    int32 // of at most as many bytes as buffers hold
	lost bool  // err is one that a read outside of ReadLazy took from the kernel, which tells it once
}

func (s *Socket) init() {
	s.read = s.tryRead
}

// ReadLazy implements LazyReader: a buffer is held only for the length of a system call that does
// not block.
func (s *Socket) ReadLazy(room Room) (int, error) {
	if s.lost {
		return 0, s.readError(s.err)
	}
	s.room = room
	err := s.raw.Read(s.read)
	s.room = nil
	switch {
	case err != nil:
		return 0, err // closed, or a deadline
	case s.err != nil:
		return 0, s.readError(s.err)
	case s.n == 0:
		return 0, s.endOfData()
	}
	s.received.Add(uint64(s.n))
	return int(s.n), nil
}

// endOfData returns io.EOF, or ECONNRESET if the other end did not end its direction but reset the
// connection: the kernel tells that to one system call only, which may have been a write's. What
// CloseWrite has done by now must not look like it, so the state is asked for first.
func (s *Socket) endOfData() error {
	if s.lost {
		return s.readError(s.err)
	}
	if s.wasReset() && !s.ended.Load() {
		return s.readError(syscall.ECONNRESET)
	}
	return io.EOF
}

func (s *Socket) readError(err error) error { return s.opError("read", err) }

// tryRead reads once without waiting. It reports false when there is nothing yet: the poller then
// waits and calls it again.
func (s *Socket) tryRead(fd uintptr) bool {
	bufs := s.room.Acquire()
	if len(bufs) == 0 || len(bufs[0]) == 0 {
		s.n, s.err = 0, syscall.EINVAL // or reading nothing would be taken for the end
		return true
	}
	for {
		var n int
		n, s.err = readv(int(fd), bufs)
		if s.n = int32(n); s.err != syscall.EINTR {
			break
		}
	}
	if s.err == syscall.EAGAIN {
		s.room.Release()
		return false
	}
	return true
}

package netio

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var _ Prompt = (*Socket)(nil)

// ReadNow implements Prompt.
func (s *Socket) ReadNow(room Room) (n int, ok bool) {
	bufs := room.Acquire()
	if s.lost || len(bufs) == 0 || len(bufs[0]) == 0 {
		room.Release()
		return 0, false
	}
	c := calls.Get().(*call)
	defer calls.Put(c)
	n, err := c.do(s, unix.SYS_RECVFROM, bufs[0], unix.MSG_DONTWAIT)
	if n > 0 {
		s.received.Add(uint64(n))
		return n, true
	}
	room.Release()
	switch {
	case err == unix.EAGAIN, err == unix.EINTR:
		return 0, true
	case err != 0 && err != unix.EBADF && !isRefusal(err):
		s.err, s.lost = err, true // it is told once
	}
	return 0, false
}

// WriteNow implements Prompt.
func (s *Socket) WriteNow(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	s.noteSent()
	defer s.noteSent()
	c := calls.Get().(*call)
	defer calls.Put(c)
	n, _ := c.do(s, unix.SYS_SENDTO, p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	s.sent.Add(uint64(n))
	return n
}

// call is a system call that returns at once. The runtime is not told of it: otherwise the thread
// that looks after those that take long would be woken each time that the process was asleep.
type call struct {
	number uintptr
	p      []byte
	flags  uintptr
	made   func(fd uintptr)
	n      int
	err    syscall.Errno
}

var calls = sync.Pool{New: func() any {
	c := new(call)
	c.made = c.make
	return c
}}

// do makes a call of the form (fd, p, len(p), flags, 0, 0) on a socket.
func (c *call) do(s *Socket, number uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	c.number, c.p, c.flags = number, p, flags
	c.n, c.err = 0, unix.EBADF
	_ = s.raw.Control(c.made)
	c.p = nil
	return c.n, c.err
}

func (c *call) make(fd uintptr) {
	n, _, err := unix.RawSyscall6(c.number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(c.p))),
		uintptr(len(c.p)), c.flags, 0, 0)
	if c.err = err; err == 0 {
		c.n = int(n)
	}
}

// lookNow is EpollWait that does not wait: see call.
func lookNow(fd uintptr, events []unix.EpollEvent) (int, error) {
	for {
		n, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		switch err {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, err
		}
	}
}

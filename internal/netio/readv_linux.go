package netio

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

func readv(fd int, bufs [][]byte) (int, error) {
	if len(bufs) == 1 || readvRefused.Load() {
		return unix.Read(fd, bufs[0])
	}
	n, err := unix.Readv(fd, bufs)
	if isRefusal(err) {
		readvRefused.Store(true)
		err = unix.EINTR // again, in the other way
	}
	return n, err
}

// readvRefused tells that the system does not do readv.
var readvRefused atomic.Bool

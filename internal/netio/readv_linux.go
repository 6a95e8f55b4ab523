package netio

import "golang.org/x/sys/unix"

func readv(fd int, bufs [][]byte) (int, error) {
	if len(bufs) == 1 {
		return unix.Read(fd, bufs[0])
	}
	n, err := unix.Readv(fd, bufs)
	if isRefusal(err) {
		return unix.Read(fd, bufs[0])
	}
	return n, err
}

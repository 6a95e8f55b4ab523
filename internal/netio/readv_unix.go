//go:build unix && !linux

package netio

import "golang.org/x/sys/unix"

// readv fills the first buffer only: not every Unix offers the system call.
func readv(fd int, bufs [][]byte) (int, error) {
	return unix.Read(fd, bufs[0])
}

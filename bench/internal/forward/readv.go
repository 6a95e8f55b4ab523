//go:build linux

package forward

import (
	"net"
	"syscall"
	"unsafe"
)

// A vectorReader reads into several buffers with one readv(2), which net offers
// for writing only.
type vectorReader struct {
	raw   syscall.RawConn
	iov   []syscall.Iovec
	n     int
	errno syscall.Errno
	ready func(fd uintptr) bool
}

func newVectorReader(conn *net.TCPConn, bufs [][]byte) (*vectorReader, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &vectorReader{raw: raw}
	for _, b := range bufs {
		v := syscall.Iovec{Base: &b[0]}
		v.SetLen(len(b))
		r.iov = append(r.iov, v)
	}
	r.ready = func(fd uintptr) bool {
		n, _, errno := syscall.Syscall(syscall.SYS_READV, fd,
			uintptr(unsafe.Pointer(&r.iov[0])), uintptr(len(r.iov)))
		r.n, r.errno = int(n), errno
		return errno != syscall.EAGAIN
	}
	return r, nil
}

// read returns 0 bytes at the end of the stream.
func (r *vectorReader) read() (int, error) {
	if err := r.raw.Read(r.ready); err != nil {
		return 0, err
	}
	if r.errno != 0 {
		return 0, r.errno
	}
	return r.n, nil
}

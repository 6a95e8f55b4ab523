//go:build unix

package udp

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/netio"
)

// reader reads from a connected socket, and holds no memory while nothing comes.
type reader struct {
	udp    *net.UDPConn
	raw    syscall.RawConn
	buffer *netio.Buffer
	n      int
	err    error
}

func newReader(udp *net.UDPConn) *reader {
	raw, err := udp.SyscallConn()
	return &reader{udp: udp, raw: raw, err: err}
}

// read returns a datagram in a buffer that is the caller's from then on.
func (r *reader) read() (*netio.Buffer, int, error) {
	if r.raw == nil {
		return nil, 0, net.ErrClosed
	}
	if err := r.raw.Read(r.try); err != nil {
		return nil, 0, err
	}
	if r.err != nil {
		return nil, 0, os.NewSyscallError("recvfrom", r.err)
	}
	b := r.buffer
	r.buffer = nil
	return b, r.n, nil
}

// try reads once without waiting. It reports false when there is nothing yet.
func (r *reader) try(fd uintptr) bool {
	b := datagramBuffer()
	for {
		r.n, r.err = unix.Read(int(fd), b.Bytes)
		if r.err != unix.EINTR {
			break
		}
	}
	if r.err != nil {
		b.Free()
		return r.err != unix.EAGAIN
	}
	r.buffer = b
	return true
}

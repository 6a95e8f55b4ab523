//go:build !unix

package udp

import (
	"net"

	"github.com/secureportal/sp/internal/netio"
)

// reader reads from a connected socket.
type reader struct{ udp *net.UDPConn }

func newReader(udp *net.UDPConn) *reader { return &reader{udp} }

// read returns a datagram in a buffer that is the caller's from then on.
func (r *reader) read() (*netio.Buffer, int, error) {
	b := datagramBuffer()
	n, err := r.udp.Read(b.Bytes)
	if err != nil {
		b.Free()
		return nil, 0, err
	}
	return b, n, nil
}

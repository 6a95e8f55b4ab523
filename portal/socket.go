package portal

import (
	"errors"
	"net"
	"syscall"

	"github.com/secureportal/sp/internal/netio"
)

// wrap makes a netio.Conn of an application's connection. Go has turned Nagle's algorithm off
// already. One without half-close, as a terminal's, ends when the far end's direction does.
func wrap(c net.Conn) netio.Conn {
	if _, ok := c.(netio.Conn); !ok {
		return netio.EndWithClose(c)
	}
	wrapped := netio.Wrap(c)
	if s, ok := wrapped.(*netio.Socket); ok {
		return guard(s, c)
	}
	return wrapped
}

// guarded is a TCP socket that the kernel resets, and does not end, when this process is killed: an application must
// not take that for the end of its data.
type guarded struct {
	*netio.Socket
	tcp *net.TCPConn
}

func guard(s *netio.Socket, c net.Conn) netio.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok || t.SetLinger(0) != nil {
		return s
	}
	return guarded{s, t}
}

// Close implements net.Conn: what has been written still arrives.
func (g guarded) Close() error {
	_ = g.tcp.SetLinger(-1)
	return g.Socket.Close()
}

func isNotConnected(err error) bool { return errors.Is(err, syscall.ENOTCONN) }

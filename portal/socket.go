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
	s, ok := wrapped.(*netio.Socket)
	if !ok {
		return wrapped
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok || tcp.SetLinger(0) != nil {
		tcp = nil
	}
	return socket{s, tcp}
}

// socket is an application's socket. If it is TCP, the kernel resets it, and does not end it, when
// this process is killed: an application must not take that for the end of its data.
type socket struct {
	*netio.Socket
	tcp *net.TCPConn // nil if it is not TCP
}

// CloseWrite implements netio.Conn. That the application has closed its end altogether is no error
// of this direction: the other one says how it has ended.
func (s socket) CloseWrite() error {
	err := s.Socket.CloseWrite()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ENOTCONN) {
		return nil
	}
	return err
}

// Close implements net.Conn: what has been written still arrives.
func (s socket) Close() error {
	if s.tcp != nil {
		_ = s.tcp.SetLinger(-1)
	}
	return s.Socket.Close()
}

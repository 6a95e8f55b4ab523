package portal

import (
	"errors"
	"net"
	"syscall"

	"github.com/secureportal/sp/internal/netio"
)

// tune sets up an application's socket.
func tune(c net.Conn) netio.Conn {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
	}
	if wrapped, ok := netio.Wrap(c).(netio.Conn); ok {
		return wrapped
	}
	return whole{c}
}

// whole makes a netio.Conn of a connection that has no half-close.
type whole struct{ net.Conn }

func (w whole) CloseWrite() error { return w.Close() }

func isNotConnected(err error) bool { return errors.Is(err, syscall.ENOTCONN) }

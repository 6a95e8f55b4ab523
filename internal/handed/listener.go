package handed

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// listener is one at a socket that was handed.
//
// Whether to accept waits in the kernel is a property of the socket, and others have the same:
// systemd has it wait whenever it starts a service with it, and so does Go. Who waits there cannot
// be told to stop. So no system call waits for longer than acceptTime, and the property is put
// right each time.
type listener struct {
	net.Listener
	of   *descriptor
	raw  syscall.RawConn
	once sync.Once
}

// acceptTime is how long the system call waits at most, where the system can be told so.
const acceptTime = 100 * time.Millisecond

func newListener(l net.Listener, of *descriptor) (*listener, error) {
	c, ok := l.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	return &listener{Listener: l, of: of, raw: raw}, err
}

// Accept implements net.Listener. What Go accepts at a socket that it has not made has keepalives
// of Go's own.
func (l *listener) Accept() (net.Conn, error) {
	neverWait(l.raw)
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		_ = tcp.SetKeepAliveConfig(netio.KeepAlive)
	}
	return c, err
}

// SetDeadline ends Accept at a time.
func (l *listener) SetDeadline(t time.Time) error {
	if d, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		return d.SetDeadline(t)
	}
	return errors.ErrUnsupported
}

// Close implements net.Listener. The socket stays, for another one to listen at.
func (l *listener) Close() error {
	descriptors.Lock()
	defer descriptors.Unlock()
	return l.closeLocked()
}

func (l *listener) closeLocked() (err error) {
	l.once.Do(func() {
		l.of.user = ""
		err = l.Listener.Close()
	})
	return err
}

// Configure gives the socket of l, which this package has made, what c gives its sockets. Whoever
// had it before, in this process or another, may have wanted something else.
func Configure(l net.Listener, c *net.ListenConfig) error {
	raw := l.(*listener).raw
	if err := withinTime(raw, acceptTime); err != nil {
		return err
	}
	if l.Addr().Network() == "tcp" {
		if err := withoutLinger(raw); err != nil {
			return err
		}
	}
	if c.Control == nil {
		return nil
	}
	return c.Control(l.Addr().Network(), l.Addr().String(), raw)
}

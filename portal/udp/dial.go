package udp

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/transport"
)

// Dialer makes flows to a service. Its Config is not changed once Dial has been called. It is safe
// for concurrent use.
type Dialer struct {
	Config Config

	once  sync.Once
	drops *drops
}

// Dial makes a flow to the service at an address, which is as transport.ParseUDP reads it, from a
// socket of its own. That nobody listens there, or says so later, is no error, and no end. ctx
// bounds the looking up of the host's name.
func (d *Dialer) Dial(ctx context.Context, to transport.Address) (*Conn, error) {
	d.once.Do(func() {
		d.drops = &drops{
			logger: d.Config.logger(), about: []any{"target", transport.Format(to)},
		}
	})
	if transport.IsLocalhost(to) { // which no name service has to be asked for
		to.Name = "127.0.0.1"
	}
	var dialer net.Dialer
	dialed, err := dialer.DialContext(ctx, "udp", transport.UDPHostPort(to))
	if err != nil {
		return nil, err
	}
	udp := dialed.(*net.UDPConn)
	_ = udp.SetReadBuffer(readBuffer)
	c := &Conn{
		local: udp.LocalAddr(), remote: udp.RemoteAddr(), drops: d.drops, idle: d.Config.Idle,
		send: func(datagram []byte) error { return sendConnected(udp, datagram) },
	}
	var receiving sync.WaitGroup
	c.over = func(now state) {
		if now >= closed {
			_ = udp.Close()
			receiving.Wait()
		}
	}
	c.begin()
	receiving.Go(func() { c.receive(udp) })
	return c, nil
}

// sendConnected sends once more what was not sent because of what became of another datagram: the
// system tells that to whoever comes next.
func sendConnected(udp *net.UDPConn, datagram []byte) error {
	_, err := udp.Write(datagram)
	if isOfAnother(err) {
		_, err = udp.Write(datagram)
	}
	if isOfAnother(err) {
		return nil // nobody listens just now: as if it were lost on the way
	}
	return err
}

// isOfAnother tells whether err says that an earlier datagram found nobody.
func isOfAnother(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, wsaConnReset)
}

// wsaConnReset is what Windows says in place of ECONNREFUSED.
const wsaConnReset = syscall.Errno(10054)

// failuresInRow is how many reads fail before each further one waits: the system tells each
// datagram's fate once.
const failuresInRow = 100

// receive takes what comes from the service until the socket is closed. Nothing that the system
// says of a socket ends the flow: a service may be started again.
func (c *Conn) receive(udp *net.UDPConn) {
	r := newReader(udp)
	for inRow := 0; ; {
		buffer, n, err := r.read()
		switch {
		case err == nil:
			inRow = 0
			c.arrived(buffer.Bytes[:n])
			buffer.Free()
		case errors.Is(err, net.ErrClosed):
			return
		default:
			if inRow++; inRow > failuresInRow {
				time.Sleep(readPause)
			}
		}
	}
}

// datagramBuffer returns memory for any datagram.
func datagramBuffer() *netio.Buffer { return netio.GetBuffer(netio.Large) }

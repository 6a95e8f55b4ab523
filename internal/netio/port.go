package netio

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// ErrNoSharedPort says that on this system several connections cannot be made from one port.
var ErrNoSharedPort = errors.New("this system does not let connections go out from a port " +
	"that another one has")

// SharesPorts tells whether several connections can be made from one port on this system.
func SharesPorts() bool { return canSharePorts }

// Port is a TCP port of this machine's from which several connections go out, to different places,
// and at which connections may come in as well. It is what a NAT has seen.
type Port struct {
	local netip.AddrPort
	from  From
}

// DialShared is DialFrom from a port that other connections may go out from as well: the first of
// ports that is free, in any order, or any if there are none. The caller closes the connection; the
// port is of use as long as that is open, at least.
func DialShared(ctx context.Context, address string, timeout time.Duration,
	check func(netip.AddrPort) error, from From, ports []uint16,
) (net.Conn, Port, error) {
	if !canSharePorts {
		return nil, Port{}, ErrNoSharedPort
	}
	d := dialing{network: "tcp", check: check, from: from, shared: true}
	if len(ports) == 0 {
		ports = []uint16{0}
	}
	var c net.Conn
	var err error
	for _, i := range rand.Perm(len(ports)) {
		d.port = ports[i]
		if c, err = d.dial(ctx, address, timeout); !isPortTaken(err) {
			break
		}
	}
	if err != nil {
		return nil, Port{}, err
	}
	local, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		_ = c.Close()
		return nil, Port{}, err
	}
	return c, Port{netip.AddrPortFrom(local.Addr().Unmap(), local.Port()), from}, nil
}

// isPortTaken tells whether a port has not let go out what another one may.
func isPortTaken(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// Local returns the address that connections from the port have.
func (p Port) Local() netip.AddrPort { return p.local }

// Dial makes a connection from the port. Where the other side does so at the same time, the two
// become one. ctx bounds it, and the caller closes the connection.
func (p Port) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAliveConfig: directKeepAlive, Control: p.control(),
		LocalAddr: net.TCPAddrFromAddrPort(p.local),
	}
	dialer.SetMultipathTCP(false) // see ListenConfig
	return dialer.DialContext(ctx, "tcp", to.String())
}

// Listen has connections come in at the port. The caller closes the listener.
func (p Port) Listen(ctx context.Context) (net.Listener, error) {
	c := net.ListenConfig{KeepAliveConfig: directKeepAlive, Control: p.control()}
	c.SetMultipathTCP(false)
	return c.Listen(ctx, "tcp", p.local.String())
}

func (p Port) control() socketControl {
	if p.from.Interface != "" {
		return bindToInterface(sharePort, p.from.Interface)
	}
	return sharePort
}

// directKeepAlive is how TCP keeps what is on the way of a direct connection awake, and finds out
// that the other end is gone: nothing else does, where nothing is sent, and there is another way.
var directKeepAlive = net.KeepAliveConfig{
	Enable: true, Idle: 15 * time.Second, Interval: 3 * time.Second, Count: 3,
}

// directTimeout is for what is sent on a direct connection to arrive. There is another way.
const directTimeout = 8 * time.Second

// TuneDirect has a connection that a Port has made, or that has come in there, end when what is
// sent does not arrive within directTimeout, where the system can do that.
func TuneDirect(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		limitUnacknowledged(t, directTimeout)
	}
}

package netio

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// KeepAlive is how TCP finds out that the other end of a quiet connection is gone, where nobody
// else does. A connection between nodes carries something before the first probe. There are as many
// as it takes for a line that loses one packet in twenty to lose them all once in a billion times.
var KeepAlive = net.KeepAliveConfig{
	Enable:   true,
	Idle:     60 * time.Second, // before the first probe
	Interval: 5 * time.Second,  // between two
	Count:    9,                // without an answer
}

// keepAliveSpread is how much later the first probe of some connections is than that of others:
// those that were dialed in one moment are not probed in one.
const keepAliveSpread = 15 * time.Second

// spreadKeepAlive is KeepAlive for one connection.
func spreadKeepAlive() net.KeepAliveConfig {
	k := KeepAlive
	k.Idle += rand.N(keepAliveSpread)
	return k
}

// Dial dials with keepalives as KeepAlive says. It does so on a goroutine of its own, for which it
// waits: dialing takes a stack that the caller would then keep for as long as the connection lives.
func Dial(ctx context.Context, network, address string, timeout time.Duration) (net.Conn, error) {
	return dialWith(ctx, network, address, timeout, nil)
}

// DialChecked is Dial that asks check before it connects to an address, each time: an error keeps
// it from that one. address may be a name, which stands for several. Nil is not asked.
func DialChecked(ctx context.Context, network, address string, timeout time.Duration,
	check func(netip.AddrPort) error,
) (net.Conn, error) {
	if check == nil {
		return Dial(ctx, network, address, timeout)
	}
	return dialWith(ctx, network, address, timeout, func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return check(at)
	})
}

// DialGuarded is Dial for a connection that the kernel resets, and does not end, when this process
// is killed: from the first moment on, where the system allows it.
func DialGuarded(
	ctx context.Context,
	network, address string,
	timeout time.Duration,
) (net.Conn, error) {
	return dialWith(ctx, network, address, timeout, guardControl)
}

func dialWith(ctx context.Context, network, address string, timeout time.Duration,
	control func(network, address string, raw syscall.RawConn) error,
) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	go func() {
		d := net.Dialer{Timeout: timeout, KeepAliveConfig: spreadKeepAlive(), Control: control}
		d.SetMultipathTCP(false) // see ListenConfig
		c, err := d.DialContext(ctx, network, address)
		results <- result{c, err}
	}()
	r := <-results
	return r.conn, r.err
}

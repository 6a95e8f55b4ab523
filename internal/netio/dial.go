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

// Dial dials with keepalives as KeepAlive says. A name that stands for several addresses is dialed
// as RFC 8305 has it: see race. It does so on a goroutine of its own, for which it waits: dialing
// takes a stack that the caller would then keep for as long as the connection lives.
func Dial(ctx context.Context, network, address string, timeout time.Duration) (net.Conn, error) {
	return dialing{network: network}.dial(ctx, address, timeout)
}

// DialFrom dials TCP as Dial does, from somewhere, and asks check before it connects to an address,
// each time: an error keeps it from that one. address may be a name, which stands for several. Nil
// is not asked.
func DialFrom(ctx context.Context, address string, timeout time.Duration,
	check func(netip.AddrPort) error, from From,
) (net.Conn, error) {
	return dialing{network: "tcp", check: check, from: from}.dial(ctx, address, timeout)
}

// DialGuarded is Dial for a connection that the kernel resets, and does not end, when this process
// is killed: from the first moment on, where the system allows it.
func DialGuarded(
	ctx context.Context,
	network, address string,
	timeout time.Duration,
) (net.Conn, error) {
	return dialing{network: network, guarded: true}.dial(ctx, address, timeout)
}

// DialGuardedWhere is DialGuarded for TCP, and asks check before it connects to an address, each
// time: see DialFrom.
func DialGuardedWhere(ctx context.Context, address string, timeout time.Duration,
	check func(netip.AddrPort) error,
) (net.Conn, error) {
	return dialing{network: "tcp", guarded: true, check: check}.dial(ctx, address, timeout)
}

// dialing is how an address is dialed.
type dialing struct {
	network string
	check   func(netip.AddrPort) error // nil asks nobody
	guarded bool
	from    From

	shared bool   // from a port that others may go out from: see Port
	port   uint16 // from that one; 0 is any
}

// dial dials address on a goroutine of its own. timeout bounds the looking up of a name, and the
// dialing of all addresses that it stands for, together.
func (d dialing) dial(
	ctx context.Context, address string, timeout time.Duration,
) (net.Conn, error) {
	if by, ok := ctx.Deadline(); timeout > 0 && (!ok || time.Until(by) > timeout) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	results := make(chan dialed)
	go func() {
		c, err := d.any(ctx, address)
		results <- dialed{c, err}
	}()
	r := <-results
	return r.conn, r.err
}

type dialed struct {
	conn net.Conn
	err  error
}

// any dials address, whatever it is.
func (d dialing) any(ctx context.Context, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if d.network != "tcp" || err != nil || host == "" || isIP(host) {
		return d.one(ctx, address)
	}
	all, err := lookUp(ctx, host, port)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: d.network, Err: err}
	}
	return race(ctx, address, all, func(ctx context.Context, at netip.AddrPort) (net.Conn, error) {
		return d.one(ctx, at.String())
	})
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// one dials an address that is one, and no name.
func (d dialing) one(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: spreadKeepAlive(), Control: d.control()}
	dialer.SetMultipathTCP(false) // see ListenConfig
	if err := d.from.bind(&dialer, address); err != nil {
		return nil, &net.OpError{Op: "dial", Net: d.network, Err: err}
	}
	if d.shared { // a port that the kernel gives when it connects is not shared
		from := &net.TCPAddr{Port: int(d.port)}
		if local, ok := dialer.LocalAddr.(*net.TCPAddr); ok {
			from.IP, from.Zone = local.IP, local.Zone
		}
		dialer.LocalAddr = from
	}
	return dialer.DialContext(ctx, d.network, address)
}

func (d dialing) control() func(network, address string, raw syscall.RawConn) error {
	var then socketControl
	switch {
	case d.guarded:
		then = guardControl
	case d.shared:
		then = sharePort
	}
	if d.check == nil {
		return then
	}
	return func(network, address string, raw syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err == nil {
			err = d.check(at)
		}
		if err == nil && then != nil {
			err = then(network, address, raw)
		}
		return err
	}
}

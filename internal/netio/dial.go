package netio

import (
	"context"
	"net"
	"syscall"
	"time"
)

// KeepAlive is how TCP finds out that the other end of a quiet connection is gone.
var KeepAlive = net.KeepAliveConfig{
	Enable:   true,
	Idle:     15 * time.Second, // before the first probe
	Interval: 5 * time.Second,  // between two
	Count:    3,                // without an answer
}

// Dial dials with keepalives as KeepAlive says. It does so on a goroutine of its own, for which it
// waits: dialing takes a stack that the caller would then keep for as long as the connection lives.
func Dial(ctx context.Context, network, address string, timeout time.Duration) (net.Conn, error) {
	return dialWith(ctx, network, address, timeout, nil)
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
		d := net.Dialer{Timeout: timeout, KeepAliveConfig: KeepAlive, Control: control}
		d.SetMultipathTCP(false) // see ListenConfig
		c, err := d.DialContext(ctx, network, address)
		results <- result{c, err}
	}()
	r := <-results
	return r.conn, r.err
}

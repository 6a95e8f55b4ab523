package transport

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
)

// unix makes connections over Unix stream sockets. They have half-close and splice; a reset is an
// end to the other side.
type unix struct{ config Config }

func newUnix(c Config) Transport { return unix{c} }

// Dial implements Transport.
func (u unix) Dial(ctx context.Context, a Address) (Link, error) {
	c, err := netio.Dial(ctx, "unix", a.Name, u.config.ConnectTimeout)
	if err != nil {
		return nil, err
	}
	return ToLink(c)
}

// Listen implements Transport. The file of a socket at which nobody listens any more is replaced.
func (unix) Listen(ctx context.Context, a Address) (Listener, error) {
	l, err := listenUnix(ctx, netio.ListenConfig(), a.Name)
	if err != nil {
		return nil, err
	}
	return sockets{l}, nil
}

// Source implements Transport: everybody on this machine is one source.
func (unix) Source(net.Addr) admission.Source { return admission.Source{} }

// Close implements Transport. Connections have nothing in common.
func (unix) Close() error { return nil }

// listenUnix listens at path, in place of a socket that was left behind.
func listenUnix(ctx context.Context, c *net.ListenConfig, path string) (net.Listener, error) {
	l, err := c.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && isStale(ctx, path) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = c.Listen(ctx, "unix", path)
	}
	return l, err
}

// isStale tells whether path is the file of a socket at which nobody listens.
func isStale(ctx context.Context, path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

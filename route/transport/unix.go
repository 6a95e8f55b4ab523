package transport

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/admission"
)

const (
	// DefaultSocketMode is the mode of the files of Unix sockets: their owner's only.
	DefaultSocketMode fs.FileMode = 0o600

	// socketLockTime is how long to wait for others who begin to listen at the same path.
	socketLockTime = 2 * time.Second
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
func (u unix) Listen(ctx context.Context, a Address) (Listener, error) {
	l, err := listenSocket(ctx, u.config, a, false)
	if err != nil {
		return nil, err
	}
	return sockets{l}, nil
}

// Source implements Transport: everybody on this machine is one source.
func (unix) Source(net.Addr) admission.Source { return admission.Source{} }

// Close implements Transport. Connections have nothing in common.
func (unix) Close() error { return nil }

// listenUnix listens at path, in place of a socket that was left behind, with a file of some mode.
// Of several who begin at once one listens: to look who is there, to remove what is left and to
// listen is one step under a lock.
func listenUnix(
	ctx context.Context, c *net.ListenConfig, path string, mode fs.FileMode,
) (base, error) {
	if isAbstract(path) {
		return listenBase(ctx, c, "unix", path)
	}
	unlock, err := atomicfile.Lock(path, socketLockTime)
	if err == nil {
		defer unlock()
	} else if errors.Is(err, atomicfile.ErrLocked) {
		return nil, err
	} // else the folder is not there, or not to be written: to listen tells that better
	l, err := listenWithMode(ctx, c, path, mode)
	if errors.Is(err, syscall.EADDRINUSE) && unlock != nil && isStale(ctx, path) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = listenWithMode(ctx, c, path, mode)
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

// widen gives the file of a socket that its owner alone can use so far the mode that it is to have.
func widen(l base, path string, mode fs.FileMode) (base, error) {
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&os.ModeSocket == 0 {
		err = errors.New("somebody has put something else in its place")
	}
	if err == nil && info.Mode().Perm() != mode {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

package transport

import (
	"context"
	"io/fs"
	"net"
	"syscall"
)

// hasAbstract tells that this system has Unix sockets without a file.
const hasAbstract = true

// listenWithMode listens at path. Linux gives the file the mode that the socket has before it is
// bound: at no moment others can use it who may not, whatever the umask.
func listenWithMode(
	ctx context.Context, c *net.ListenConfig, path string, mode fs.FileMode,
) (base, error) {
	own := *c
	own.Control = func(network, address string, raw syscall.RawConn) error {
		if c.Control != nil {
			if err := c.Control(network, address, raw); err != nil {
				return err
			}
		}
		var err error
		control := raw.Control(func(fd uintptr) {
			err = syscall.Fchmod(int(fd), uint32(mode.Perm()))
		})
		if control != nil {
			return control
		}
		return err
	}
	l, err := listenBase(ctx, &own, "unix", path)
	if err != nil {
		return nil, err
	}
	return widen(l, path, mode.Perm()) // the umask may have taken something away
}

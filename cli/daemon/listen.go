package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/secureportal/sp/cli/config"
)

// listen listens at a as how says. A Unix socket that nobody listens on any more is replaced.
func listen(ctx context.Context, a config.Address, how *net.ListenConfig) (net.Listener, error) {
	l, err := how.Listen(ctx, a.Network, a.Address)
	if a.Network == "unix" && errors.Is(err, syscall.EADDRINUSE) && isStale(a.Address) {
		if err := os.Remove(a.Address); err != nil {
			return nil, err
		}
		l, err = how.Listen(ctx, a.Network, a.Address)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen at %s: %w", a, withoutAddress(err))
	}
	return l, nil
}

// isStale tells whether the socket at path was left behind.
func isStale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func withoutAddress(err error) error {
	var operation *net.OpError
	if errors.As(err, &operation) {
		return operation.Err
	}
	return err
}

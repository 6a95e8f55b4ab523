package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// place is where to listen or what to dial: a TCP address, a Unix socket, or stdin and stdout.
type place struct {
	network string // "tcp", "unix" or "stdio"
	address string
}

const stdioText = "-"

// parsePlace reads host:port, :port with host in front, unix:PATH, or - if that makes sense.
func parsePlace(text, host string, stdio bool) (place, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if path == "" {
			return place{}, errors.New("unix: stands without a path")
		}
		return place{"unix", path}, nil
	}
	if text == stdioText && stdio {
		return place{network: "stdio"}, nil
	}
	name, port, err := net.SplitHostPort(text)
	if err != nil {
		return place{}, fmt.Errorf("%q is not host:port or unix:PATH", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return place{}, fmt.Errorf("%q: a port is a number from 0 to 65535", text)
	}
	if name == "" {
		name = host
	}
	return place{"tcp", net.JoinHostPort(name, port)}, nil
}

// listen listens at p as config says. A Unix socket that nobody listens on any more is replaced.
func (p place) listen(ctx context.Context, config *net.ListenConfig) (net.Listener, error) {
	l, err := config.Listen(ctx, p.network, p.address)
	if p.network == "unix" && errors.Is(err, syscall.EADDRINUSE) && p.isStale() {
		if err := os.Remove(p.address); err != nil {
			return nil, err
		}
		l, err = config.Listen(ctx, p.network, p.address)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen at %s: %w", p, unwrapListen(err))
	}
	return l, nil
}

// isStale tells whether p is a socket's file that was left behind.
func (p place) isStale() bool {
	info, err := os.Lstat(p.address)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	c, err := net.Dial("unix", p.address)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func unwrapListen(err error) error {
	var operation *net.OpError
	if errors.As(err, &operation) {
		return operation.Err
	}
	return err
}

func (p place) String() string {
	switch p.network {
	case "unix":
		return "unix:" + p.address
	case "stdio":
		return stdioText
	}
	return p.address
}

// describe returns where l listens, in the form that parsePlace reads.
func describe(l net.Listener) string {
	return place{l.Addr().Network(), l.Addr().String()}.String()
}

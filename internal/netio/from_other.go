//go:build !linux

package netio

import "net"

// bindToInterface does nothing: the interface's address has to do.
func bindToInterface(*net.Dialer, string) {}

//go:build !linux

package netio

import "syscall"

// socketControl is what is done to a socket before it is used.
type socketControl = func(network, address string, raw syscall.RawConn) error

// bindToInterface is what is done before: the interface's address has to do.
func bindToInterface(before socketControl, _ string) socketControl { return before }

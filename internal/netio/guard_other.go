//go:build !unix

package netio

import "syscall"

var guardControl func(network, address string, raw syscall.RawConn) error

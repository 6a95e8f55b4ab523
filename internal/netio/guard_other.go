//go:build !unix

package netio

import "syscall"

// guardControl does nothing where it is not known to help.
func guardControl(_, _ string, _ syscall.RawConn) error { return nil }

//go:build unix

package netio

import (
	"errors"
	"slices"
	"syscall"
)

// A system call is optional if things go on without it, slower or less well: splice and readv make
// copies cheap, keepalives notice what is dead. A system may not know it, or not do it for that
// descriptor, and a filter may forbid it with whatever error its author chose: EPERM in Docker's
// and systemd's profiles, EACCES or ENOSYS in others. None of that is an error here.

// ofConnections are the errors that a connection itself fails with. A system call that returns one
// has been done.
var ofConnections = []syscall.Errno{
	syscall.EAGAIN, syscall.EINTR, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT,
	syscall.ECONNABORTED, syscall.ECONNREFUSED, syscall.ENOTCONN, syscall.ENETDOWN,
	syscall.ENETUNREACH, syscall.ENETRESET, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
	syscall.EBADF,
}

// isRefusal tells whether err is how a system says that it does not do an optional system call.
// A bare number costs nothing: copies ask after each system call.
//
//go:noinline
func isRefusal(err error) bool {
	if err == nil {
		return false
	}
	if number, ok := err.(syscall.Errno); ok {
		return !slices.Contains(ofConnections, number)
	}
	return wrapsRefusal(err)
}

func wrapsRefusal(err error) bool {
	var number syscall.Errno
	return errors.As(err, &number) && !slices.Contains(ofConnections, number)
}

// optional is err, or nil if that is a refusal.
func optional(err error) error {
	if isRefusal(err) {
		return nil
	}
	return err
}

//go:build unix

package netio

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestRefusals(t *testing.T) {
	for _, err := range []error{
		syscall.EPERM, syscall.EACCES, syscall.ENOSYS, syscall.EINVAL, syscall.EOPNOTSUPP,
		syscall.ENOPROTOOPT, syscall.ENOTTY, os.NewSyscallError("splice", syscall.EPERM),
		&net.OpError{Op: "write", Err: os.NewSyscallError("writev", syscall.EACCES)},
	} {
		if !isRefusal(err) || optional(err) != nil {
			t.Errorf("%v is no refusal", err)
		}
	}
	for _, err := range []error{
		nil, io.EOF, syscall.EAGAIN, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT,
		net.ErrClosed, os.ErrDeadlineExceeded, fmt.Errorf("read: %w", syscall.EHOSTUNREACH),
	} {
		if isRefusal(err) || optional(err) != err {
			t.Errorf("%v is a refusal", err)
		}
	}
}

//go:build unix

package handed

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inherited returns descriptor n, if it was open when this process began, and keeps it from
// children. What this process has opened itself is never left to children, and is nobody's to name.
func inherited(n int) (*os.File, error) {
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	switch {
	case errors.Is(err, unix.EBADF):
		return nil, fmt.Errorf("descriptor %d is not open: %w with that number", n, ErrNone)
	case err != nil:
		return nil, fmt.Errorf("descriptor %d: %w", n, err)
	case flags&unix.FD_CLOEXEC != 0:
		return nil, fmt.Errorf("descriptor %d is this process's own: %w with that number", n, ErrNone)
	}
	if err := check(n); err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", n, err)
	}
	unix.CloseOnExec(n)
	return os.NewFile(uintptr(n), ""), nil
}

// check tells why nobody can listen at descriptor n for connections over TCP or to a Unix socket.
func check(n int) error {
	var stat unix.Stat_t
	if err := unix.Fstat(n, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("it is no socket")
	}
	name, err := unix.Getsockname(n)
	if err != nil {
		return err
	}
	switch name.(type) {
	case *unix.SockaddrInet4, *unix.SockaddrInet6, *unix.SockaddrUnix:
	default:
		return errors.New("it is neither a TCP nor a Unix socket")
	}
	kind, err := unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return err
	}
	_, local := name.(*unix.SockaddrUnix)
	if !local && isMultipath(n) {
		return errors.New("it is a socket of Multipath TCP, and not of TCP: that is SocketProtocol= of " +
			"systemd, SetMultipathTCP of Go")
	}
	if kind != unix.SOCK_STREAM || !local && !isTCP(n) {
		return errors.New("it is a socket for something else than streams over TCP or Unix sockets " +
			"(ListenStream= of systemd makes those)")
	}
	// Where the system does not tell, to accept will.
	listens, err := unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err == nil && listens == 0 {
		return errors.New("it is a connection, or not listening yet: systemd hands a socket that " +
			"listens with Accept=no, and for Accept=yes it is --listen -")
	}
	return nil
}

// withoutLinger has what is accepted at a TCP socket end when it is closed, and not reset.
func withoutLinger(raw syscall.RawConn) error {
	var err error
	control := raw.Control(func(n uintptr) {
		err = unix.SetsockoptLinger(int(n), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
	})
	if control != nil {
		return control
	}
	return err
}

// neverWait has system calls on a socket not wait.
func neverWait(raw syscall.RawConn) {
	_ = raw.Control(func(n uintptr) {
		flags, err := unix.FcntlInt(n, unix.F_GETFL, 0)
		if err == nil && flags&unix.O_NONBLOCK == 0 {
			_ = unix.SetNonblock(int(n), true)
		}
	})
}

// withinTime has accept wait for some time at most, if it waits. What is accepted never waits.
func withinTime(raw syscall.RawConn, most time.Duration) error {
	return raw.Control(func(n uintptr) {
		within := unix.NsecToTimeval(most.Nanoseconds())
		_ = unix.SetsockoptTimeval(int(n), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &within) // if it can
	})
}

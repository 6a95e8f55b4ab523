package bluetooth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Options of Bluetooth's sockets.
	solBluetooth = 274
	optionSndMTU = 12
	optionRcvMTU = 13

	// backlog is how many channels wait to be accepted.
	backlog = 16

	// writePatience bounds how long a kernel that does not know that a socket does not block has a
	// write wait for the other side (before Linux 5.16, where it is 40 seconds).
	writePatience = time.Second
)

// newSocket returns a socket for channels over Low Energy that does not block. Packets, and not a
// stream: that would hide where one is missing.
func newSocket(local Device, psm uint16) (fd int, err error) {
	const kind = unix.SOCK_SEQPACKET | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	fd, err = unix.Socket(unix.AF_BLUETOOTH, kind, unix.BTPROTO_L2CAP)
	if err != nil {
		return -1, socketError(err)
	}
	err = unix.Bind(fd, socketAddress(At{local, psm}))
	if err == nil {
		err = unix.SetsockoptInt(fd, solBluetooth, optionRcvMTU, MaxPacket)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, bindError(err, psm)
	}
	return fd, nil
}

func socketAddress(a At) unix.Sockaddr {
	s := &unix.SockaddrL2{PSM: a.PSM, Addr: a.Address, AddrType: unix.BDADDR_LE_PUBLIC}
	if a.Random {
		s.AddrType = unix.BDADDR_LE_RANDOM
	}
	return s
}

// fromSocket returns what a socket's address is: x/sys reverses what it is given, and not what it
// gives.
func fromSocket(s unix.Sockaddr) At {
	l, ok := s.(*unix.SockaddrL2)
	if !ok {
		return At{}
	}
	a := Device{Address: Address(l.Addr).reversed(), Random: l.AddrType == unix.BDADDR_LE_RANDOM}
	return At{a, l.PSM}
}

// opened returns the channel of a socket that is connected.
func opened(fd int, remote At) (*Conn, error) {
	most, err := unix.GetsockoptInt(fd, solBluetooth, optionSndMTU)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	patience := unix.NsecToTimeval(int64(writePatience))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience)
	local, _ := unix.Getsockname(fd)
	c, err := newConn(fd, most, fromSocket(local), remote)
	if err != nil {
		return nil, err
	}
	c.unsent = unsent
	return c, nil
}

// unsent returns how many bytes the radio has not been given of what was written, with what they
// take besides. Bluetooth's sockets tell by TIOCOUTQ how much room there is, and not, as others,
// how much is there.
func unsent(fd int) int {
	size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return 0
	}
	room, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ)
	if err != nil {
		return 0
	}
	return max(size-room, 0)
}

// Dial makes a channel from an adapter, or any, to a device's PSM. ctx bounds it.
func Dial(ctx context.Context, from Device, to At) (*Conn, error) {
	fd, err := newSocket(from, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Connect(fd, socketAddress(to))
	if err != nil && err != unix.EINPROGRESS && err != unix.EAGAIN {
		_ = unix.Close(fd)
		return nil, dialError(err)
	}
	file := os.NewFile(uintptr(fd), to.Network())
	err = awaitConnected(ctx, file)
	if err == nil {
		fd, err = detached(file)
	}
	_ = file.Close()
	if err != nil {
		return nil, dialError(err)
	}
	return opened(fd, to)
}

// detached returns a descriptor of a file's socket that the file does not close.
func detached(file *os.File) (fd int, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return -1, err
	}
	control := raw.Control(func(from uintptr) {
		fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(control, err)
}

// awaitConnected waits until a socket that is being connected is.
func awaitConnected(ctx context.Context, file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		if ready(int(fd), unix.POLLOUT) == 0 {
			return false
		}
		number, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if failed = err; err == nil && number != 0 {
			failed = syscall.Errno(number)
		}
		return true
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(inWords(err), failed)
}

// Listener listens for channels.
type Listener struct {
	file *os.File
	raw  syscall.RawConn
	at   At
}

// Listen listens at a PSM of an adapter, or of any. PSM 0 is one that is free.
func Listen(at At) (*Listener, error) {
	fd, err := newSocket(at.Device, at.PSM)
	if err != nil {
		return nil, err
	}
	name, err := unix.Getsockname(fd)
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, bindError(err, at.PSM)
	}
	l := &Listener{file: os.NewFile(uintptr(fd), at.Network()), at: at}
	l.at.PSM = fromSocket(name).PSM
	if l.raw, err = l.file.SyscallConn(); err != nil {
		_ = l.file.Close()
		return nil, err
	}
	return l, nil
}

// Accept waits for a channel.
func (l *Listener) Accept() (*Conn, error) {
	for {
		fd, remote, err := l.accept()
		switch err {
		case nil:
			if c, err := opened(fd, remote); err == nil {
				return c, nil // else he has gone already
			}
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return nil, err
		}
	}
}

// accept waits for one socket.
func (l *Listener) accept() (fd int, remote At, err error) {
	fd = -1
	var failed error
	err = l.raw.Read(func(listening uintptr) bool {
		var name unix.Sockaddr
		fd, name, failed = unix.Accept4(int(listening), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		remote = fromSocket(name)
		return failed != unix.EAGAIN
	})
	if err != nil {
		return -1, remote, inWords(err)
	}
	return fd, remote, failed
}

// Addr returns an At.
func (l *Listener) Addr() net.Addr { return l.at }

// Close ends Accept.
func (l *Listener) Close() error { return l.file.Close() }

func socketError(err error) error {
	switch err {
	case unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ESOCKTNOSUPPORT:
		return ErrNone
	case unix.EPERM, unix.EACCES:
		return fmt.Errorf("a filter of system calls, or the like, does not allow Bluetooth's sockets: %w",
			err)
	}
	return err
}

func bindError(err error, psm uint16) error {
	switch {
	case err == unix.EACCES && psm > 0 && psm < FirstFreePSM:
		return fmt.Errorf("PSM %d is one of those that need CAP_NET_BIND_SERVICE: from %d on none does",
			psm, FirstFreePSM)
	case err == unix.EADDRNOTAVAIL:
		return errors.Join(ErrNoAdapter)
	}
	return err
}

func dialError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, unix.ETIMEDOUT),
		errors.Is(err, unix.EHOSTDOWN):
		return fmt.Errorf("the device does not answer: it is off, out of reach, or does not "+
			"advertise: %w", context.DeadlineExceeded)
	case errors.Is(err, unix.EHOSTUNREACH):
		return Trouble()
	}
	return err
}

package netio

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ListenConfig returns how to listen so that accepted TCP connections have keepalives as KeepAlive
// says. They inherit them from the listening socket, which saves four system calls for each.
// Multipath TCP, which Go offers if nobody objects, is left out: what this package asks the kernel
// about a socket would be told of its first path alone.
func ListenConfig() *net.ListenConfig {
	c := &net.ListenConfig{KeepAlive: -1, Control: keepAliveControl}
	c.SetMultipathTCP(false)
	return c
}

func keepAliveControl(network, _ string, raw syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	set := func(fd uintptr, level, option, value int) {
		if err == nil {
			err = optional(unix.SetsockoptInt(int(fd), level, option, value))
		}
	}
	control := raw.Control(func(fd uintptr) {
		set(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		set(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(KeepAlive.Idle.Seconds()))
		set(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(KeepAlive.Interval.Seconds()))
		set(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, KeepAlive.Count)
	})
	if control != nil {
		return control
	}
	return err
}

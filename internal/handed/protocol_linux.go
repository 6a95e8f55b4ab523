package handed

import "golang.org/x/sys/unix"

// isTCP tells whether a stream socket of IP is one of TCP.
func isTCP(n int) bool {
	protocol, err := unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return err != nil || protocol == unix.IPPROTO_TCP
}

// isMultipath tells whether a socket of IP is one of Multipath TCP: what package netio asks about a
// connection would be told of its first path alone.
func isMultipath(n int) bool {
	protocol, err := unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return err == nil && protocol == unix.IPPROTO_MPTCP
}

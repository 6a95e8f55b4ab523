//go:build unix && !linux

package handed

// isTCP tells whether a stream socket of IP is one of TCP.
func isTCP(int) bool { return true }

// isMultipath tells whether a socket of IP is one of Multipath TCP, which is Linux's.
func isMultipath(int) bool { return false }

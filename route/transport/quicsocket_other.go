//go:build !linux

package transport

import "net"

// tellRefusals does nothing: who is not there does not answer.
func tellRefusals(*net.UDPConn) {}

// forgetRefusals does nothing: no more is kept of them than the error.
func forgetRefusals(*net.UDPConn) {}

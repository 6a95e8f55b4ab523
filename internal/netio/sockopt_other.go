//go:build !linux

package netio

import (
	"net"
	"time"
)

// SetUserTimeout does nothing where the system has no such option; keepalives and the session's pings remain.
func SetUserTimeout(*net.TCPConn, time.Duration) error { return nil }

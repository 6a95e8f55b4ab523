//go:build !linux

package netio

import "net"

// ListenConfig returns how to listen so that accepted TCP connections have keepalives as KeepAlive
// says.
func ListenConfig() *net.ListenConfig {
	return &net.ListenConfig{KeepAliveConfig: KeepAlive}
}

//go:build !linux

package faultnet

import "net"

// unsent is known on Linux only: elsewhere a RST may overtake what was just written.
func unsent(*net.TCPConn) int { return 0 }

// waitReset is known on Linux only: elsewhere a RST that follows a FIN is
// noticed at the next write.
func waitReset(*net.TCPConn) bool { return false }

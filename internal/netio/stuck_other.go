//go:build !linux

package netio

// stuck is nothing here.
type stuck struct{}

// Stuck is what Stuck returns of a socket: here it cannot tell.
func (*Socket) Stuck() int { return 0 }

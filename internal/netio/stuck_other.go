//go:build !linux

package netio

// stuck is nothing here.
type stuck struct{}

// Stuck is what Stuck returns of a socket: here it cannot tell.
func (*Socket) Stuck() (times int, sending bool) { return 0, false }

// NoteSends is what NoteSends does.
func (*Socket) NoteSends(*Note) {}

func (*Socket) noteSent() {}

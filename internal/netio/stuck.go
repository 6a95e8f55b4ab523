package netio

import "net"

// stuckWatcher is a connection that knows whether what it sends arrives.
type stuckWatcher interface {
	Stuck() (times int)
}

// Stuck returns how many times in a row, this one included, it was asked of c while the kernel had
// sent the same bytes again without any of them arriving. The kernel itself goes on with that for a
// quarter of an hour. A reader that keeps its window shut is none of it, and a connection that
// cannot tell is never stuck. It has one caller at a time.
func Stuck(c net.Conn) int {
	if w, ok := c.(stuckWatcher); ok {
		return w.Stuck()
	}
	return 0
}

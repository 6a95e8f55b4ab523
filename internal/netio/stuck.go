package netio

import "net"

// watcher is a connection that knows whether what it sends arrives, and what comes of it.
type watcher interface {
	Stuck() (times int)
	Unended() (times int)
}

// Stuck returns how many times in a row, this one included, it was asked of c while the kernel had sent the same bytes
// again without any of them arriving. The kernel itself goes on with that for a quarter of an hour. A reader that keeps
// its window shut is none of it, and a connection that cannot tell is never stuck. It has one caller at a time.
func Stuck(c net.Conn) int {
	if w, ok := c.(watcher); ok {
		return w.Stuck()
	}
	return 0
}

// Unended returns how many times in a row Stuck has found that this side of c has ended its direction, that the kernel at
// the other end knows, and that the other end has not ended its own. A connection that cannot tell has always ended.
func Unended(c net.Conn) int {
	if w, ok := c.(watcher); ok {
		return w.Unended()
	}
	return 0
}

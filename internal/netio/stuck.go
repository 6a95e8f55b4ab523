package netio

import "net"

// stuckWatcher is a connection that knows whether what it sends arrives.
type stuckWatcher interface {
	Stuck() (times int, sending bool)
	NoteSends(n *Note)
}

// Note is told when something is sent on connections. One is for any number of them.
type Note struct{ Do func() }

// Stuck returns how many times in a row, this one included, it was asked of c while the kernel had
// sent the same bytes again without any of them arriving. The kernel itself goes on with that for a
// quarter of an hour. A reader that keeps its window shut is none of it, and a connection that
// cannot tell is never stuck. It has one caller at a time.
//
// sending tells whether anything is on its way at all. Where nothing is, the kernel is not asked
// again before something has been sent.
func Stuck(c net.Conn) (times int, sending bool) {
	if w, ok := c.(stuckWatcher); ok {
		return w.Stuck()
	}
	return 0, false
}

// NoteSends has n.Do called when something is sent on c after Stuck has found that nothing was on
// its way, and at once if it may be. Do must not wait. NoteSends is called for each connection once
// at most.
func NoteSends(c net.Conn, n *Note) {
	if w, ok := c.(stuckWatcher); ok {
		w.NoteSends(n)
	}
}

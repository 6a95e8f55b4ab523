package route

import (
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/wire"
)

// refusing is what a node has turned somebody away for last, for want of something of its own. The
// zero value is ready; it is safe for concurrent use.
type refusing struct{ last atomic.Pointer[turnedAway] }

// turnedAway is one who was.
type turnedAway struct {
	why string
	at  time.Time
}

// note takes note that somebody has been turned away.
func (r *refusing) note(why string) { r.last.Store(&turnedAway{why, time.Now()}) }

// noteRefusal takes note of who has been refused because the node was at a limit, if that is why.
func (r *refusing) noteRefusal(err error) {
	if e, ok := err.(*StatusError); ok && e.Code == wire.Busy && !e.passing {
		r.note(e.Reason)
	}
}

// Refusing tells what the node has turned somebody away for last, because it was at a limit, and
// how long ago that was. It reports false if it never has.
func (n *Node) Refusing() (why string, ago time.Duration, ever bool) {
	last := n.refusing.last.Load()
	if last == nil {
		return "", 0, false
	}
	return last.why, time.Since(last.at), true
}

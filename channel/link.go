package channel

import (
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// link leads to the far end's Endpoint, whatever it is made of. Flows follow one another on it: a
// link is the carrier of each in its turn.
type link struct {
	Conn
	in *input // what has been read and not yet taken; a flow's while one is on the link

	// pool is told when the link has no flow any more. Nil for a control link, and before it is
	// known whose link it is.
	pool *linkPool
	// since is when the link became idle, by the pool's time; guarded by the pool.
	since time.Duration
	// flow is the one that is on the link, or nil. moves and still are how often something had
	// passed in it at the last look, and since when that has been so many; guarded by the pool.
	flow  atomic.Pointer[Flow]
	still time.Duration
	moves uint32

	// left is closed when a flow that has come to the link from another one leaves it; nil if none
	// has.
	left atomic.Pointer[chan struct{}]

	// resting tells that the last flow has left the link clean and no other has begun.
	resting atomic.Bool
	// unauthenticated tells, at the responder, that a hello has come and not the record that proves
	// it.
	unauthenticated atomic.Bool

	// dialed tells that this side is the initiator, which keeps links without a flow in the pool.
	// The responder waits for the next hello.
	dialed bool
	// counted tells that the pool's activity has the flow, and background that it is none that
	// somebody would miss; guarded by the pool.
	counted, background bool
}

var _ carrier = (*link)(nil)

func newLink(conn Conn) *link { return &link{Conn: conn, in: new(input)} }

// ReadLazy implements carrier.
func (l *link) ReadLazy(room netio.Room) (int, error) { return netio.ReadLazy(l.Conn, room) }

// Takes implements carrier.
func (l *link) Takes() int { return netio.Takes(l.Conn) }

// AwaitTakes implements carrier.
func (l *link) AwaitTakes() { netio.AwaitTakes(l.Conn) }

// Quiet implements carrier.
func (l *link) Quiet() bool { return netio.Quiet(l.Conn) }

// TakesMore implements netio.MoreTaker.
func (l *link) TakesMore() bool { return netio.TakesMore(l.Conn) }

// AwaitReset implements carrier.
func (l *link) AwaitReset() error { return netio.AwaitReset(l.Conn) }

// Close implements carrier: the link ends with its flow.
func (l *link) Close() error {
	l.leave()
	l.pool.forget(l)
	return l.Conn.Close()
}

// Reset implements carrier: the link is reset with its flow.
func (l *link) Reset() error {
	l.leave()
	l.pool.forget(l)
	return netio.Reset(l.Conn)
}

// ResetDelivered implements carrier.
func (l *link) ResetDelivered(wait time.Duration) error {
	l.leave()
	l.pool.forget(l)
	netio.ResetDelivered(l.Conn, wait)
	return nil
}

// rest implements carrier.
func (l *link) rest(in *input) {
	l.in = in
	l.flow.Store(nil)
	l.resting.Store(true)
	l.leave()
}

// leave tells who waits for the flow to leave the link.
func (l *link) leave() {
	if left := l.left.Swap(nil); left != nil {
		close(*left)
	}
}

// free implements carrier.
func (l *link) free() {
	if l.dialed {
		l.pool.park(l)
	}
}

// need returns the next n bytes, reading as long as it must. An end within them is
// io.ErrUnexpectedEOF.
func (l *link) need(n int) ([]byte, error) { return l.in.need(l, n) }

// frame reads one frame of a handshake.
func (l *link) frame() ([]byte, error) { return l.in.frame(l) }

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
	// by is the way that the link goes, if that is not the session's own. It is set once.
	by *elsewhere
	// flow is the one that is on the link, or nil.
	flow atomic.Pointer[Flow]
	// since is when the link became idle, by the pool's time, or when it was first seen that nothing
	// passes in the flow on it any more: moves is how often something had. The pool guards both.
	since time.Duration
	moves uint32
	// kept tells that it was this side that has the flow carry something, at since: nothing has
	// moved it after that. The pool guards it.
	kept bool

	// attempt is the one to resume the flow on the link that has brought it there; 0 if the flow
	// was opened on it. It is set before the flow is there.
	attempt uint32

	// resting tells that the last flow has left the link clean and no other has begun.
	resting atomic.Bool
	// unauthenticated tells, at the responder, that a hello has come and not the record that proves
	// it.
	unauthenticated atomic.Bool

	// parks tells that who waits for something on the link need not be a goroutine.
	parks bool
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
func (l *link) ReadLazy(room netio.Room) (int, error) {
	if lazy, ok := l.Conn.(netio.LazyReader); ok { // a frame less on the stack of who waits
		return lazy.ReadLazy(room)
	}
	return netio.ReadLazy(l.Conn, room)
}

// Takes implements carrier.
func (l *link) Takes() int { return netio.Takes(l.Conn) }

// AwaitTakes implements carrier.
func (l *link) AwaitTakes() { netio.AwaitTakes(l.Conn) }

// Unsent implements netio.Unsenter.
func (l *link) Unsent() int { return netio.Unsent(l.Conn) }

// WriteNow writes what is taken now: see netio.Prompt.
func (l *link) WriteNow(p []byte) int { return netio.WriteNow(l.Conn, p) }

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
	l.resting.Store(true)
	l.leave()
	l.flow.Store(nil)
}

// leave tells who waits for the flow to leave the link.
func (l *link) leave() {
	if f := l.flow.Load(); f != nil && f.lasting != nil {
		f.lasting.leave(l)
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

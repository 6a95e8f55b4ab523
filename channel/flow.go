package channel

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/netio"
)

// flowState is where a flow is in its life.
//
//	open ── both directions ended ──▶ clean    the carrier is free for the next flow
//	  └──── Close, Reset, error ────▶ closed   the carrier is closed
type flowState uint8

const (
	flowOpen flowState = iota
	flowClean
	flowClosed
)

// errFlowClosed is the error of what is done with a flow that this side has closed.
var errFlowClosed = fmt.Errorf("flow: %w", net.ErrClosed)

// Flow is one stream through a session: a net.Conn with CloseWrite. Data is delivered in order,
// unchanged and without gaps. Read returns io.EOF only where the other end called CloseWrite or
// Close, and an error where the link broke or somebody interfered. The first error of a direction
// is permanent. It is safe for concurrent use.
type Flow struct {
	in         atomic.Pointer[Session]
	moves      atomic.Uint32 // how often something has passed, either way
	background atomic.Bool   // nobody would miss it soon
	lasting    *lasting      // nil: it ends with its link
	late       bool          // set once: the far end has been told that it has not come

	way struct {
		sync.Mutex // taken last
		carrier    carrier
	}

	unproven atomic.Pointer[unproven] // nil once the far end has said something in the flow

	sending struct {
		sync.Mutex
		cipher cipherHalf
		hello  []byte // goes out before the first record
		err    error  // permanent
		ended  bool

		hurried bool // what is sent does not wait for a link that the flow has lost

		waiting chan struct{} // closed when who waits for room goes on; nil: nobody does
	}

	receiving struct {
		sync.Mutex
		cipher cipherHalf
		in     *input  // read and not yet opened; the carrier's again once the flow is clean
		from   carrier // that in comes from
		data   []byte  // opened and not yet delivered; in the input's buffer
		err    error   // permanent; io.EOF after the end
		ended  bool    // the end has been seen, and life does not know yet
		much   bool    // so much has been opened that it is to be acknowledged
		opener *opener // while it is not known whether it goes on with another flow
	}

	life struct {
		sync.Mutex
		reason   error // why it is closed, where that is not an error of the link
		readBy   time.Time
		writeBy  time.Time
		awaiting *resetWait
		state    flowState
		ended    uint8 // directions
		sentEnd  bool  // one of them is the sending one
		late     bool  // the read deadline had passed when it was set
	}
}

var (
	_ netio.Conn       = (*Flow)(nil)
	_ netio.LazyReader = (*Flow)(nil)
	_ netio.Resetter   = (*Flow)(nil)

	_ netio.DeliveredResetter = (*Flow)(nil)
	_ netio.Quieter           = (*Flow)(nil)
	_ io.WriterTo             = (*Flow)(nil)
	_ io.ReaderFrom           = (*Flow)(nil)
)

// newFlow makes a flow on l, whose input becomes the flow's.
func newFlow(s *Session, l *link, k flowKeys) *Flow {
	f := new(Flow)
	f.in.Store(s)
	f.sending.cipher, f.receiving.cipher, f.sending.hello = k.send, k.receive, k.hello
	f.way.carrier, f.receiving.from = l, l
	f.receiving.in, l.in = l.in, nil
	l.attempt = 0
	l.flow.Store(f)
	return f
}

// Background says that nobody would miss the flow soon if it were gone: a session with no other
// flows is pinged like one without. It is called once, before the flow ends.
func (f *Flow) Background() {
	f.background.Store(true)
	f.countOn(f.carrier())
}

// countOn takes note, where the flow is on c by now, of what has been said by Background.
func (f *Flow) countOn(c carrier) {
	if l, ok := c.(*link); ok && f.background.Load() {
		l.pool.toBackground(l)
	}
}

// Session returns the session that f belongs to. A flow that has lost its link may go on in another
// one, with the same far end.
func (f *Flow) Session() *Session { return f.in.Load() }

// Close ends the sending direction if that has not been done, and gives up the other one if that
// has not ended. The link stays for the next flow if both have ended.
func (f *Flow) Close() error {
	if !f.isOpen() {
		return nil
	}
	f.prove()
	said := false
	if f.sending.TryLock() {
		if !f.sending.ended && f.sending.err == nil && f.sending.waiting == nil {
			// The flow's deadline, and not the link's own: a link that stays must lose it.
			_ = f.SetWriteDeadline(time.Now().Add(abortTimeout))
			f.sending.hurried = true
			if f.sendEndLocked() == nil {
				f.sending.ended = true
				f.endDirection(true)
			}
		}
		said = f.sending.ended
		f.sending.Unlock()
	}
	f.shutAnd(carrier.Close, errFlowClosed, said)
	return nil
}

// Reset ends the flow so that the other end gets ErrReset. After CloseWrite, when the other end
// reads no more, it is the link that is reset, for the other end's AwaitReset.
func (f *Flow) Reset() error {
	f.abortAnd(carrier.Close, carrier.Reset, abortReset, errFlowClosed)
	return nil
}

// abort ends the flow, tells the other end why if that can be done soon, and makes err the error of
// what is blocked.
//
//go:noinline
func (f *Flow) abort(reason abortReason, err error) {
	f.abortAnd(carrier.Close, carrier.Close, reason, err)
}

// abortAnd is abort. It ends the carrier with told if the other end has been told, and with ended
// if that cannot be because this side's direction has ended.
func (f *Flow) abortAnd(told, ended func(carrier) error, reason abortReason, err error) {
	end, said := carrier.Close, false
	if f.because(err) && f.sending.TryLock() {
		switch {
		case f.sending.ended:
			end = ended
		case f.sending.err == nil && f.lasting != nil && f.sending.hello != nil:
			f.sending.err = err // nobody knows of it
		case f.sending.err == nil:
			_ = f.SetWriteDeadline(time.Now().Add(abortTimeout))
			f.sending.hurried = true
			if f.sendRecordLocked(typeAbort, byte(reason)) == nil {
				end, said = told, true
			}
			f.sending.err = err // nothing follows an abort
		}
		f.sending.Unlock()
	}
	f.shutAnd(end, err, said)
}

// because makes err the reason of what comes, unless there is one already. It reports whether the
// flow is open.
func (f *Flow) because(err error) bool {
	f.life.Lock()
	defer f.life.Unlock()
	if f.life.state != flowOpen {
		return false
	}
	if f.life.reason == nil {
		f.life.reason = err
	}
	return true
}

// shut closes the carrier with the flow, unless the flow has left it clean.
func (f *Flow) shut(err error) { f.shutAnd(carrier.Close, err, false) }

// shutAnd ends the flow, unless it is clean, and its carrier with end. said tells that the last
// record says so.
func (f *Flow) shutAnd(end func(carrier) error, err error, said bool) {
	f.because(err)
	f.life.Lock()
	open := f.life.state == flowOpen
	if open {
		f.life.state = flowClosed
		f.life.awaiting.overLocked()
	}
	f.life.Unlock()
	if open {
		if f.lasting != nil {
			f.lasting.kept.wake()
			f.part(said)
		}
		_ = end(f.carrier())
	}
}

// endDirection counts the directions that have ended. After both, the carrier is free for the next
// flow.
func (f *Flow) endDirection(sending bool) {
	f.life.Lock()
	f.life.ended++
	f.life.sentEnd = f.life.sentEnd || sending
	clean := f.life.ended == 2 && f.life.state == flowOpen
	c := f.carrier()
	if clean {
		f.life.state, f.life.reason = flowClean, nil
		c.rest(f.receiving.in)
		f.receiving.in = nil
		f.life.awaiting.dismissLocked(c)
		if !f.life.readBy.IsZero() || !f.life.writeBy.IsZero() {
			_ = c.SetDeadline(time.Time{})
		}
	}
	f.life.Unlock()
	if clean {
		c.free()
		if f.lasting != nil {
			f.remain()
		}
	} else if !sending && f.Session().role == identity.Responder {
		f.Session().quiet.begin() // the initiator cannot any more
	}
}

func (f *Flow) isOpen() bool { return f.is(flowOpen) }

func (f *Flow) is(state flowState) bool {
	f.life.Lock()
	defer f.life.Unlock()
	return f.life.state == state
}

// OnEnd has do called when the session has ended, and with it the flow, unless that has ended well.
// It is for those who would not notice, because they are busy elsewhere. Nil takes that back, which
// must be done when the flow is done with. A closed flow must not be given another one.
func (f *Flow) OnEnd(do func()) {
	if f.lasting == nil {
		f.Session().hooks.set(f, do)
		return
	}
	f.lasting.setHook(do)
	if s := f.Session(); do != nil && s.Err() != nil && !s.isLost() && s.hooks.isTaken() {
		f.callHook()
	}
}

// Err returns why the flow ended, or nil if it is open or both directions ended cleanly.
func (f *Flow) Err() error {
	f.life.Lock()
	defer f.life.Unlock()
	return f.life.reason
}

// callHook calls what OnEnd has been given, unless the flow has ended well.
func (f *Flow) callHook() {
	if do := f.lasting.takeHook(); do != nil && !f.is(flowClean) {
		do()
	}
}

// explain returns the reason behind err, if it is known.
func (f *Flow) explain(err error) error {
	if reason := f.Err(); reason != nil {
		return reason
	}
	if f.lasting != nil && isTimeout(err) {
		return err // it may have waited for long after its session
	}
	if reason := f.Session().Err(); reason != nil {
		return sessionEnded(reason)
	}
	return err
}

// LocalAddr implements net.Conn; it is the link's.
func (f *Flow) LocalAddr() net.Addr { return f.carrier().LocalAddr() }

// GoesDirectly tells whether the flow's link says of itself that it does, whatever that means where
// links come from.
func (f *Flow) GoesDirectly() bool {
	l, ok := f.carrier().(*link)
	if !ok {
		return false
	}
	on, ok := l.Conn.(interface{ GoesDirectly() bool })
	return ok && on.GoesDirectly()
}

// RemoteAddr implements net.Conn; it is the link's.
func (f *Flow) RemoteAddr() net.Addr { return f.carrier().RemoteAddr() }

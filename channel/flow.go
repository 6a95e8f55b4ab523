package channel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// chain is a link to the far end's channel responder, whatever it is made of, on which flows follow one another.
type chain struct {
	conn Conn
	in   input
	// idle takes the chain when a flow has left it clean. Nil where whoever serves the chain waits for the next hello.
	idle func(*chain)
	// since is when the chain became idle; owned by whoever keeps idle chains.
	since time.Time
	// resting tells that the last flow has left the chain clean and no other has begun.
	resting atomic.Bool
	// unproved tells, at the responder, that a hello has come and not the record that proves it.
	unproved atomic.Bool
	// flow is the last one that called OnEnd, and ended what it wants called; guarded by the session.
	flow  *Flow
	ended func()
}

func newChain(conn Conn) *chain {
	c := &chain{conn: conn}
	c.in.conn = conn
	return c
}

// flowState is where a flow is in its life.
//
//	open ── both directions ended ──▶ clean    the chain is free for the next flow
//	  └──── Close, Abort, error ────▶ closed   the chain is closed
type flowState int

const (
	flowOpen flowState = iota
	flowClean
	flowClosed
)

// Flow is one stream through a session: a net.Conn with CloseWrite. Data is delivered in order, unchanged and without
// gaps; Read returns io.EOF only where the other end called CloseWrite or Close, and an error where the link broke or
// somebody interfered. The first error of a direction is permanent. It is safe for concurrent use.
type Flow struct {
	session *Session
	chain   *chain

	sending struct {
		sync.Mutex
		cipher cipherHalf
		out    output
		hello  []byte // goes out before the first record
		err    error  // permanent
		ended  bool
	}

	receiving struct {
		sync.Mutex
		cipher   cipherHalf
		data     []byte   // opened and not yet delivered; in the chain's input
		segments [][]byte // room for WriteTo's system calls
		buffers  net.Buffers
		err      error // permanent; io.EOF after the end
		ended    bool  // the end has been seen, and life does not know yet
	}

	life struct {
		sync.Mutex
		state     flowState
		ended     int // directions
		deadlines bool
		reason    error // why it is closed, where that is not an error of the link
		awaiting  *resetWait
		late      bool // the read deadline had passed when it was set
	}
}

var (
	_ netio.Conn       = (*Flow)(nil)
	_ netio.LazyReader = (*Flow)(nil)
	_ netio.Resetter   = (*Flow)(nil)
	_ netio.Quieter    = (*Flow)(nil)
	_ io.WriterTo      = (*Flow)(nil)
	_ io.ReaderFrom    = (*Flow)(nil)
)

// Session returns the session that f belongs to.
func (f *Flow) Session() *Session { return f.session }

// Close ends the sending direction if that has not been done, and gives up the other one if that has not ended. The
// link stays for the next flow if both have ended.
func (f *Flow) Close() error {
	if !f.isOpen() {
		return nil
	}
	if f.sending.TryLock() {
		if !f.sending.ended && f.sending.err == nil {
			_ = f.SetWriteDeadline(time.Now().Add(abortTimeout)) // the flow's: a link that stays must lose it
			if f.sendRecord(typeEnd) == nil {
				f.sending.ended = true
				f.endDirection()
			}
		}
		f.sending.Unlock()
	}
	f.shut(fmt.Errorf("flow: %w", net.ErrClosed))
	return nil
}

// Reset ends the flow so that the other end gets ErrReset. After CloseWrite, when the other end reads no more, it is
// the link that is reset, for the other end's AwaitReset.
func (f *Flow) Reset() error {
	f.abortAnd(netio.Reset, abortReset, fmt.Errorf("flow: %w", net.ErrClosed))
	return nil
}

// abort ends the flow, tells the other end why if that can be done soon, and makes err the error of what is blocked.
func (f *Flow) abort(reason abortReason, err error) { f.abortAnd(Conn.Close, reason, err) }

// abortAnd is abort, and if the other end cannot be told any more it ends the link with end.
func (f *Flow) abortAnd(end func(Conn) error, reason abortReason, err error) {
	if f.because(err) && f.sending.TryLock() {
		if !f.sending.ended {
			end = Conn.Close
		}
		if f.sending.err == nil && !f.sending.ended {
			_ = f.SetWriteDeadline(time.Now().Add(abortTimeout))
			_ = f.sendRecord(typeAbort, byte(reason))
			f.sending.err = err // nothing follows an abort
		}
		f.sending.Unlock()
	} else {
		end = Conn.Close
	}
	f.shutAnd(end, err)
}

// because makes err the reason of what comes, unless there is one already. It reports whether the flow is open.
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

// shut closes the link with the flow, unless the flow has left it clean.
func (f *Flow) shut(err error) { f.shutAnd(Conn.Close, err) }

func (f *Flow) shutAnd(end func(Conn) error, err error) {
	f.because(err)
	f.life.Lock()
	open := f.life.state == flowOpen
	if open {
		f.life.state = flowClosed
		f.life.awaiting.over()
	}
	f.life.Unlock()
	if open {
		f.session.forget(f.chain)
		_ = end(f.chain.conn)
	}
}

// endDirection counts the directions that have ended; after both, the chain is free for the next flow.
func (f *Flow) endDirection() {
	f.life.Lock()
	f.life.ended++
	clean := f.life.ended == 2 && f.life.state == flowOpen
	if clean {
		f.life.state, f.life.reason = flowClean, nil
		f.chain.resting.Store(true)
		f.life.awaiting.dismiss(f.chain.conn)
		if f.life.deadlines {
			_ = f.chain.conn.SetDeadline(time.Time{})
		}
	}
	f.life.Unlock()
	if clean && f.chain.idle != nil {
		f.chain.idle(f.chain)
	}
}

func (f *Flow) isOpen() bool { return f.is(flowOpen) }

func (f *Flow) is(state flowState) bool {
	f.life.Lock()
	defer f.life.Unlock()
	return f.life.state == state
}

// OnEnd has do called when the session has ended, and with it the flow: for those who would not notice, because they
// are busy elsewhere. Nil takes that back. It is for a flow that is not closed.
func (f *Flow) OnEnd(do func()) {
	s, c := f.session, f.chain
	s.mu.Lock()
	ended := s.chains == nil
	switch {
	case ended:
	case do != nil:
		c.flow, c.ended = f, do
	case c.flow == f: // else the chain is another flow's by now
		c.flow, c.ended = nil, nil
	}
	s.mu.Unlock()
	if ended && do != nil {
		do()
	}
}

// Err returns why the flow ended, or nil if it is open or both directions ended cleanly.
func (f *Flow) Err() error {
	f.life.Lock()
	defer f.life.Unlock()
	return f.life.reason
}

// explain returns the reason behind err, if it is known.
func (f *Flow) explain(err error) error {
	if reason := f.Err(); reason != nil {
		return reason
	}
	if ended := f.session.Err(); ended != nil {
		return fmt.Errorf("session ended: %w", ended)
	}
	return err
}

// linkError says ErrCut of whatever a link itself fails with, its end included, except for a deadline.
func linkError(err error) error {
	if err == nil {
		return nil
	}
	var operation *net.OpError
	switch {
	case errors.Is(err, ErrCut), isTimeout(err):
		return err
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return ErrCut
	case errors.As(err, &operation):
		err = operation.Err
	}
	return fmt.Errorf("%w: %w", ErrCut, err)
}

// isTimeout tells whether a deadline has passed. ETIMEDOUT, which says that the link is dead, calls itself a timeout
// too, and is none.
func isTimeout(err error) bool {
	if err == nil {
		return false
	}
	var t net.Error
	return errors.As(err, &t) && t.Timeout() && !errors.Is(err, syscall.ETIMEDOUT)
}

// LocalAddr implements net.Conn; it is the link's.
func (f *Flow) LocalAddr() net.Addr { return f.chain.conn.LocalAddr() }

// RemoteAddr implements net.Conn; it is the link's.
func (f *Flow) RemoteAddr() net.Addr { return f.chain.conn.RemoteAddr() }

// SetDeadline implements net.Conn. A deadline that passes during a write ends the flow; one that passes during a read
// does not.
func (f *Flow) SetDeadline(t time.Time) error {
	f.setLate(t)
	return f.setDeadline(f.chain.conn.SetDeadline, t)
}

// SetReadDeadline implements net.Conn.
func (f *Flow) SetReadDeadline(t time.Time) error {
	f.setLate(t)
	return f.setDeadline(f.chain.conn.SetReadDeadline, t)
}

// SetWriteDeadline implements net.Conn.
func (f *Flow) SetWriteDeadline(t time.Time) error {
	return f.setDeadline(f.chain.conn.SetWriteDeadline, t)
}

func (f *Flow) setDeadline(set func(time.Time) error, t time.Time) error {
	f.life.Lock()
	defer f.life.Unlock()
	if f.life.state != flowOpen {
		return nil
	}
	f.life.deadlines = true
	return set(t)
}

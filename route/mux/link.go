package mux

import (
	"container/list"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// Link is one of the links of a mux: a net.Conn whose directions end on their own. Where the mux
// has ended before the other side has ended a link, a reader gets io.EOF behind what has come: what
// is above tells from that whether something is missing. It is safe for concurrent use.
//
//	open ── CloseWrite ──▶ sent ──┐
//	  └── the other's end ──▶ got ─┴─▶ ended
//	from any: Close ──▶ closed (what comes is thrown away until the other's end)
//	          Reset, the other's reset, the mux's end ──▶ over
type Link struct {
	mux *Mux
	id  uint32

	writing sync.Mutex // held while somebody writes; before mu

	mu           sync.Mutex // guards what follows
	changed      sync.Cond  // when something of what follows has
	in           queue
	window       window // of what comes
	send         int    // bytes that the other side takes
	acknowledged bool   // by the other side; true for a link of its own
	sentEnd      bool
	gotEnd       bool
	closed       bool // by Close or Reset
	wasReset     bool // by the other side, or here
	muxEnded     bool
	readBy       deadline
	writeBy      deadline

	turn *list.Element // among the mux's unended; guarded by the mux
	left time.Time     // since when; guarded by the mux
}

var (
	_ netio.Conn         = (*Link)(nil)
	_ netio.LazyReader   = (*Link)(nil)
	_ netio.Quieter      = (*Link)(nil)
	_ netio.Taker        = (*Link)(nil)
	_ netio.Resetter     = (*Link)(nil)
	_ netio.ResetAwaiter = (*Link)(nil)
	_ netio.Unsenter     = (*Link)(nil)
)

// errReset is what netio.IsReset knows.
var errReset = fmt.Errorf("link of a mux: %w", syscall.ECONNRESET)

// deadline is when waiting ends. It is guarded by the link.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newLink(m *Mux, id uint32) *Link {
	now := time.Now()
	l := &Link{
		mux: m, id: id, send: firstWindow,
		window: window{
			size: firstWindow, left: firstWindow, granted: now, grown: now,
			budgets: [2]*Budget{m.own, m.config.Budget},
		},
		acknowledged: id%2 != m.next%2,
	}
	l.changed.L = &l.mu
	return l
}

// Read implements net.Conn.
func (l *Link) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	l.mu.Lock()
	if err := l.awaitDataLocked(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	n := l.in.read(p)
	return n, l.granted()
}

// ReadLazy implements netio.LazyReader.
func (l *Link) ReadLazy(room netio.Room) (int, error) {
	l.mu.Lock()
	if err := l.awaitDataLocked(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	n := 0
	for _, b := range room.Acquire() {
		n += l.in.read(b)
	}
	return n, l.granted()
}

// granted unlocks l, and tells the other side if it may send more. That the mux may have ended
// meanwhile is for the next read.
func (l *Link) granted() error {
	more := l.grantLocked()
	l.mu.Unlock()
	if more > 0 {
		_ = l.mux.out.say(header{kind: typeWindow, link: l.id, length: more})
	}
	return nil
}

func (l *Link) grantLocked() uint32 {
	if l.gotEnd || l.wasReset || l.muxEnded {
		l.window.stop(l.in.size)
		return 0
	}
	return l.window.grant(l.in.size, time.Now())
}

// awaitDataLocked returns when there are bytes to read, or never will be.
func (l *Link) awaitDataLocked() error {
	for {
		switch {
		case l.closed:
			return net.ErrClosed
		case l.in.size > 0:
			return nil
		case l.wasReset:
			return errReset
		case l.gotEnd, l.muxEnded:
			return io.EOF
		case l.readBy.passed():
			return os.ErrDeadlineExceeded
		}
		l.changed.Wait()
	}
}

// Write implements net.Conn.
func (l *Link) Write(p []byte) (int, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	total := 0
	for total < len(p) {
		n, by, err := l.takeWindow(len(p) - total)
		if err == nil {
			err = l.mux.out.data(l.id, p[total:total+n], by)
		}
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

// takeWindow waits until the other side takes bytes, and returns how many of want may be sent, and
// until when.
func (l *Link) takeWindow(want int) (n int, by time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed:
			return 0, by, net.ErrClosed
		case l.sentEnd:
			return 0, by, fmt.Errorf("write after the end: %w", net.ErrClosed)
		case l.wasReset:
			return 0, by, errReset
		case l.muxEnded:
			return 0, by, errEnded
		case l.writeBy.passed():
			return 0, by, os.ErrDeadlineExceeded
		case l.send > 0:
			n = min(want, l.send, l.mux.data)
			l.send -= n
			return n, l.writeBy.at, nil
		}
		l.changed.Wait()
	}
}

// Takes implements netio.Taker.
func (l *Link) Takes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.send == 0 && !l.refusesLocked() {
		return 0
	}
	return max(l.send, maxData)
}

// AwaitTakes implements netio.Taker.
func (l *Link) AwaitTakes() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.send == 0 && !l.refusesLocked() {
		l.changed.Wait()
	}
}

// refusesLocked tells whether a write would fail.
func (l *Link) refusesLocked() bool {
	return l.closed || l.sentEnd || l.wasReset || l.muxEnded || l.writeBy.passed()
}

// CloseWrite implements netio.Conn: the other side reads io.EOF behind what has been written.
func (l *Link) CloseWrite() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	again := l.sentEnd || l.closed
	over := l.wasReset || l.muxEnded
	l.sentEnd = true
	ended := l.gotEnd
	l.changed.Broadcast()
	l.mu.Unlock()
	switch {
	case over:
		return errEnded
	case again:
		return nil
	}
	err := l.mux.out.say(header{kind: typeWindow, flags: flagFIN, link: l.id})
	if ended {
		l.mux.forget(l)
	}
	return err
}

// Close implements net.Conn: it ends the link both ways, and whatever waits for it. What the other
// side still sends is thrown away.
func (l *Link) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	says := !l.sentEnd && !l.wasReset && !l.muxEnded
	l.sentEnd = true
	l.in.drop()
	more := l.grantLocked()
	ended := l.gotEnd || l.wasReset || l.muxEnded
	l.stopTimersLocked()
	l.changed.Broadcast()
	l.mu.Unlock()
	if says {
		_ = l.mux.out.say(header{kind: typeWindow, flags: flagFIN, link: l.id, length: more})
	}
	if ended {
		l.mux.forget(l)
	} else {
		l.mux.leave(l)
	}
	return nil
}

// Reset ends the link both ways, and the other side gets an error behind what it has.
func (l *Link) Reset() error {
	l.mu.Lock()
	l.closed = true
	l.in.drop()
	l.mu.Unlock()
	l.sendReset()
	return nil
}

// sendReset ends the link with a reset, unless it has ended.
func (l *Link) sendReset() {
	l.mu.Lock()
	ended := l.wasReset || l.muxEnded || l.sentEnd && l.gotEnd
	l.wasReset = true
	l.window.stop(l.in.size)
	l.stopTimersLocked()
	l.changed.Broadcast()
	l.mu.Unlock()
	l.mux.forget(l)
	if !ended {
		_ = l.mux.out.say(header{kind: typeWindow, flags: flagRST, link: l.id})
	}
}

// cutLocked returns why the link has ended otherwise than by its ends, or nil.
func (l *Link) cutLocked() error {
	switch {
	case l.closed:
		return net.ErrClosed
	case l.wasReset:
		return errReset
	case l.muxEnded:
		return errEnded
	}
	return nil
}

// AwaitReset implements netio.ResetAwaiter.
func (l *Link) AwaitReset() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		err := l.cutLocked()
		switch {
		case err != nil:
			return err
		case l.sentEnd:
			return nil
		case l.readBy.passed():
			return os.ErrDeadlineExceeded
		}
		l.changed.Wait()
	}
}

// Quiet implements netio.Quieter.
func (l *Link) Quiet() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed && !l.wasReset && !l.muxEnded && !l.gotEnd && l.in.size == 0
}

// fewBytes is how many TakesMore asks for.
const fewBytes = 256

// TakesMore implements netio.MoreTaker.
func (l *Link) TakesMore() bool {
	l.mu.Lock()
	open := !l.closed && !l.sentEnd && !l.wasReset && !l.muxEnded && l.send >= fewBytes
	l.mu.Unlock()
	return open && len(l.mux.out.turn) == 0 && netio.TakesMore(l.mux.carrier)
}

// Unsent implements netio.Unsenter: what is on the carrier is in front of whatever a link writes
// next, whose it may be.
func (l *Link) Unsent() int { return netio.Unsent(l.mux.carrier) }

// mayReceive tells whether the other side may send n bytes more. Whoever has just been reset does
// not know that yet.
func (l *Link) mayReceive(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wasReset || !l.gotEnd && l.window.allows(n)
}

// receive takes bytes that have come. Those of a closed link are thrown away, and the other side
// may send on: it may have something to say at its own end yet.
func (l *Link) receive(b []byte) {
	l.mu.Lock()
	l.window.receive(len(b))
	var more uint32
	if l.closed {
		more = l.grantLocked()
	} else {
		l.in.write(b)
		l.changed.Broadcast()
	}
	l.mu.Unlock()
	if more > 0 {
		l.mux.out.tell(header{kind: typeWindow, link: l.id, length: more})
	}
}

// end takes note of the other side's end.
func (l *Link) end() {
	l.mu.Lock()
	l.gotEnd = true
	l.window.stop(l.in.size)
	ended := l.sentEnd
	l.changed.Broadcast()
	l.mu.Unlock()
	if ended {
		l.mux.forget(l)
	}
}

// widen takes note that the other side takes n bytes more, or reports that this is over all bounds.
func (l *Link) widen(n uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int64(l.send)+int64(n) > maxSendWindow {
		return false
	}
	l.send += int(n)
	l.changed.Broadcast()
	return true
}

// noteReset takes note of the other side's reset.
func (l *Link) noteReset() {
	l.mu.Lock()
	l.wasReset = true
	l.window.stop(l.in.size)
	l.changed.Broadcast()
	l.mu.Unlock()
	l.mux.forget(l)
}

// acknowledge reports whether the other side had not taken l yet.
func (l *Link) acknowledge() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := !l.acknowledged
	l.acknowledged = true
	l.changed.Broadcast()
	return first
}

// AwaitTaken waits until the other side has taken the link, which this side has opened: so the
// carrier carries. It fails if the link ends before that, or at by.
func (l *Link) AwaitTaken(by time.Time) error {
	timer := time.AfterFunc(time.Until(by), l.wake)
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		err := l.cutLocked()
		switch {
		case err != nil:
			return err
		case l.acknowledged:
			return nil
		case !time.Now().Before(by):
			return os.ErrDeadlineExceeded
		}
		l.changed.Wait()
	}
}

// over is the end of the mux.
func (l *Link) over() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.muxEnded = true
	l.window.stop(l.in.size)
	l.changed.Broadcast()
}

// addressed is a carrier that says between which addresses it is.
type addressed interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// LocalAddr implements net.Conn; it is the carrier's.
func (l *Link) LocalAddr() net.Addr {
	if c, ok := l.mux.carrier.(addressed); ok {
		return c.LocalAddr()
	}
	return noAddr{}
}

// RemoteAddr implements net.Conn; it is the carrier's.
func (l *Link) RemoteAddr() net.Addr {
	if c, ok := l.mux.carrier.(addressed); ok {
		return c.RemoteAddr()
	}
	return noAddr{}
}

// noAddr is the address of a carrier that has none.
type noAddr struct{}

func (noAddr) Network() string { return "mux" }
func (noAddr) String() string  { return "mux" }

// SetDeadline implements net.Conn.
func (l *Link) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setLocked(&l.readBy, t)
	l.setLocked(&l.writeBy, t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (l *Link) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setLocked(&l.readBy, t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (l *Link) SetWriteDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setLocked(&l.writeBy, t)
	return nil
}

func (l *Link) setLocked(d *deadline, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if !t.IsZero() && !l.closed {
		if wait := time.Until(t); wait > 0 {
			d.timer = time.AfterFunc(wait, l.wake)
		}
	}
	l.changed.Broadcast()
}

// wake has those who wait look at the time.
func (l *Link) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed.Broadcast()
}

func (l *Link) stopTimersLocked() {
	for _, d := range []*deadline{&l.readBy, &l.writeBy} {
		if d.timer != nil {
			d.timer.Stop()
			d.timer = nil
		}
	}
}

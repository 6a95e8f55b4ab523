package udp

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// Conn is a flow of datagrams as a stream of bytes: what is read from it are the datagrams that
// have come, each behind its length, and what is written to it goes out as the datagrams that it
// holds. It is a net.Conn with CloseWrite, and safe for concurrent use, but that one goroutine
// reads and one writes. It knows no deadlines.
//
//	open ── CloseWrite, or idle ── ended: it reads io.EOF, and takes and drops what is written
//	     └─ Close or Reset ── closed
//
// A flow has no half-close: it ends as a whole, when either end of the stream does.
type Conn struct {
	local, remote net.Addr
	send          func(datagram []byte) error // does not keep it
	over          func(state)                 // called with each later state, once; nil is nobody
	drops         *drops
	idle          time.Duration // 0 is for ever
	reads         func()        // called before the first read; nil is nobody

	stream         any           // that it goes on by; nil is unknown
	received, sent atomic.Uint64 // bytes of datagrams
	wake           chan struct{} // gets something when whoever reads is to look again

	reading struct {
		sync.Mutex
		rest []byte // of the frame that is being read
	}

	writing struct {
		sync.Mutex
		part []byte // of a frame whose end has not been written
	}

	mu    sync.Mutex // guards what follows
	state state
	queue queue
	talk  talk
	brief bool      // EndWhenQuiet has been called
	last  time.Time // that something was said
	timer *time.Timer
}

// state is what there is of a flow.
type state uint8

const (
	open state = iota
	ended
	closed
	wasReset
)

// talk is what has been said in a flow so far.
type talk uint8

const (
	asked talk = iota
	answered
	talking // the client has said something after an answer
)

var (
	_ netio.Conn       = (*Conn)(nil)
	_ netio.LazyReader = (*Conn)(nil)
	_ netio.Resetter   = (*Conn)(nil)
	_ netio.Mover      = (*Conn)(nil)
	_ netio.Idler      = (*Conn)(nil)
)

// begin has the flow begin now. Its fields are not set any more.
func (c *Conn) begin() *Conn {
	c.wake = make(chan struct{}, 1)
	c.last = time.Now()
	if c.idle > 0 {
		c.timer = time.AfterFunc(c.limitLocked(), c.endIfIdle)
	}
	return c
}

// GoesOn says to which stream the datagrams go. While that has not sent what it was given, they
// wait here, where the oldest may be dropped, and not there. It is called before the first read.
func (c *Conn) GoesOn(stream any) { c.stream = stream }

// limitLocked is for how long nothing may be said.
func (c *Conn) limitLocked() time.Duration {
	if c.brief {
		return quiet
	}
	if c.talk < talking {
		return min(c.idle, askedIdle)
	}
	return c.idle
}

// EndWhenQuiet ends the flow as soon as nothing has been said for a second: whoever carries it
// wants to go, and a client that says something later gets another one.
func (c *Conn) EndWhenQuiet() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.brief || c.state != open {
		return
	}
	c.brief = true
	left := max(quiet-time.Since(c.last), 0)
	if c.timer == nil {
		c.timer = time.AfterFunc(left, c.endIfIdle)
	} else {
		c.timer.Reset(left)
	}
}

func (c *Conn) endIfIdle() {
	c.mu.Lock()
	left := c.limitLocked() - time.Since(c.last)
	if c.state == open && left > 0 {
		c.timer.Reset(left)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.end()
}

// arrived takes a datagram that has come, and does not keep it.
func (c *Conn) arrived(datagram []byte) {
	if len(datagram) > MaxDatagram {
		c.drops.add(large, 1, nil)
		return
	}
	frame := make([]byte, headerSize+len(datagram))
	binary.BigEndian.PutUint16(frame, uint16(len(datagram)))
	copy(frame[headerSize:], datagram)
	c.mu.Lock()
	if c.state != open {
		c.mu.Unlock()
		return
	}
	c.last = time.Now()
	if c.talk == answered {
		c.talk = talking
	}
	n := c.queue.push(frame)
	c.mu.Unlock()
	c.received.Add(uint64(len(datagram)))
	c.drops.add(slow, n, nil)
	c.look()
}

// look has whoever reads look again.
func (c *Conn) look() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// ReadLazy implements netio.LazyReader: of one datagram at a time, so that each has a record of its
// own where the room is large enough.
func (c *Conn) ReadLazy(room netio.Room) (int, error) {
	r := &c.reading
	r.Lock()
	defer r.Unlock()
	if err := c.await(); err != nil {
		return 0, err
	}
	n := 0
	for _, b := range room.Acquire() {
		m := copy(b, r.rest)
		r.rest = r.rest[m:]
		n += m
	}
	return n, nil
}

// Read implements net.Conn, like ReadLazy.
func (c *Conn) Read(p []byte) (int, error) {
	r := &c.reading
	r.Lock()
	defer r.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if err := c.await(); err != nil {
		return 0, err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// await returns when there is something to read. Reading is locked.
func (c *Conn) await() error {
	if c.reads != nil {
		c.reads()
		c.reads = nil
	}
	r := &c.reading
	pause := leastPause
	for {
		slow := len(r.rest) == 0 && netio.Unsent(c.stream) > mostUnsent
		c.mu.Lock()
		if len(r.rest) == 0 && !slow {
			r.rest = c.queue.pop()
		}
		now, waits := c.state, len(c.queue.frames) > 0
		c.mu.Unlock()
		switch {
		case now >= closed:
			return net.ErrClosed
		case len(r.rest) > 0:
			return nil
		case now == ended:
			return io.EOF
		case slow && waits:
			time.Sleep(pause)
			pause = min(2*pause, mostPause)
		default:
			<-c.wake
		}
	}
}

// Write implements net.Conn. A datagram that cannot be sent is no error.
func (c *Conn) Write(p []byte) (int, error) {
	w := &c.writing
	w.Lock()
	defer w.Unlock()
	for rest := p; len(rest) > 0; {
		datagram, after, whole, err := c.assemble(rest)
		if err != nil {
			return len(p) - len(rest), err
		}
		rest = after
		if !whole {
			continue
		}
		if err := c.deliver(datagram); err != nil {
			return len(p) - len(rest), err
		}
	}
	return len(p), nil
}

// assemble takes the next datagram off b, or what there is of it. What is returned is valid until
// the next call. Writing is locked.
func (c *Conn) assemble(b []byte) (datagram, rest []byte, whole bool, err error) {
	w := &c.writing
	if len(w.part) == 0 && len(b) >= headerSize {
		size, err := frameSize(b)
		if err != nil {
			return nil, b, false, err
		}
		if len(b) >= size {
			return b[headerSize:size], b[size:], true, nil
		}
		w.part = make([]byte, 0, size)
	}
	if len(w.part) < headerSize {
		n := min(headerSize-len(w.part), len(b))
		w.part, b = append(w.part, b[:n]...), b[n:]
		if len(w.part) < headerSize {
			return nil, b, false, nil
		}
	}
	size, err := frameSize(w.part)
	if err != nil {
		return nil, b, false, err
	}
	n := min(size-len(w.part), len(b))
	w.part, b = append(w.part, b[:n]...), b[n:]
	if len(w.part) < size {
		return nil, b, false, nil
	}
	datagram, w.part = w.part[headerSize:], nil
	return datagram, b, true, nil
}

// frameSize returns how many bytes the frame has that b begins with, header included.
func frameSize(b []byte) (int, error) {
	n := int(binary.BigEndian.Uint16(b))
	if n > MaxDatagram {
		return 0, errTooLarge
	}
	return headerSize + n, nil
}

// deliver sends a datagram, unless the flow has ended.
func (c *Conn) deliver(datagram []byte) error {
	c.mu.Lock()
	now := c.state
	if now == open {
		c.last = time.Now()
		c.talk = max(c.talk, answered)
	}
	c.mu.Unlock()
	switch now {
	case ended:
		return nil
	case closed, wasReset:
		return net.ErrClosed
	}
	err := c.send(datagram)
	switch {
	case err == nil:
		c.sent.Add(uint64(len(datagram)))
	case !errors.Is(err, net.ErrClosed):
		c.drops.add(unsent, 1, err)
	case c.isOpen():
		return err
	}
	return nil
}

func (c *Conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == open
}

// CloseWrite implements netio.Conn: the far end says nothing more, and wants nothing more.
func (c *Conn) CloseWrite() error {
	w := &c.writing
	w.Lock()
	clipped := len(w.part) > 0
	w.Unlock()
	c.end()
	if clipped {
		return errClipped
	}
	return nil
}

// end ends the flow, in whichever way: a datagram that is being read is read to its end.
func (c *Conn) end() { c.become(ended) }

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.become(closed)
	return nil
}

// Reset implements netio.Resetter.
func (c *Conn) Reset() error {
	c.become(wasReset)
	return nil
}

func (c *Conn) become(next state) {
	c.mu.Lock()
	before := c.state
	if next <= before || before >= closed {
		c.mu.Unlock()
		return
	}
	c.state = next
	c.queue.clear()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.look()
	if c.over != nil {
		c.over(next)
	}
}

// Moved implements netio.Mover.
func (c *Conn) Moved() (received, sent uint64) { return c.received.Load(), c.sent.Load() }

// Idle implements netio.Idler.
func (c *Conn) Idle() (since time.Duration, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.last), true
}

// LocalAddr implements net.Conn: where the client's datagrams go, or where the service's come.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

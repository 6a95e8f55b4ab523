package netio

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy copies between two conns, each way, until both directions have ended, and closes both. An
// end of data passes as CloseWrite. An error in either direction resets both; so does a reset of
// one whose direction has ended while the other one goes on. Between sockets on Linux the bytes
// stay in the kernel, and a direction that waits holds no memory.
//
// What a conn has said before an error arrives at the other one first, within a bounded time: a
// conn that takes nothing any more is still read to its end, and the other one is reset when what
// has been written to it has arrived.
//
// It is used once, by Run, Start or StartHere. The fields are set before. Its methods give
// goroutines their names in stacks.
type Proxy struct {
	A, B  Conn
	Owner Owner  // nil is nobody
	Tally *Tally // nil: nobody wants to know

	tallied tallied

	other sync.WaitGroup // the direction that has a goroutine of its own
	sent  int64          // by that one

	received int64 // by the other one

	mu      sync.Mutex  // guards what follows, but for resets
	resets  atomic.Bool // or has reset the conns
	over    bool        // it does not fail any more
	aEnded  bool        // A has said all it has to say, and B has it
	bEnded  bool        // and the other way around
	failure *failure    // nil if it has not failed
	there   way         // from A to B
	back    way
	standby standby

	done func(error) // of Start
}

// failure is what there is to know of a Proxy once it has failed, which few do.
type failure struct {
	err  error
	dead Conn        // takes nothing any more, and is being read to its end
	late *time.Timer // when that has taken too long
}

// Owner is told about a Proxy of its.
type Owner interface {
	// Failed is called with the first error, if there is one, before the conns are reset. What
	// it returns is that error's explanation, and the error of the Proxy.
	Failed(err error) error

	// Copied is called when both directions have ended, before the conns are closed, with how
	// many bytes were copied.
	Copied(aToB, bToA int64)
}

// Run copies, and returns the first error, or nil if both directions have ended cleanly. One of the
// directions has a goroutine of its own, for which Run waits.
func (p *Proxy) Run() error {
	p.Tally.begin(p)
	p.other.Add(1)
	go p.aToB()
	return p.bToA()
}

// Start is Run on goroutines of its own, which are there while something is copied: done gets what
// Run returns.
func (p *Proxy) Start(done func(error)) {
	p.start(done)
	go p.bToAStarted()
}

// StartHere is Start on the goroutine that calls it, and one of its own. It returns when it has
// called done, or somebody else will.
func (p *Proxy) StartHere(done func(error)) {
	p.start(done)
	p.bToAStarted()
}

//go:noinline
func (p *Proxy) start(done func(error)) {
	p.done = done
	p.Tally.begin(p)
	p.other.Add(1)
	p.mu.Lock()
	p.lookAfterLocked()
	p.mu.Unlock()
	go p.aToB()
}

// Fail resets both conns at once because of err, if they are not closed. It waits for nothing.
func (p *Proxy) Fail(err error) {
	if p.because(err) {
		_ = Reset(p.B)
		_ = Reset(p.A)
	}
}

// because makes err the error of the Proxy, unless there is one. It reports whether the conns may
// still be reset.
func (p *Proxy) because(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure == nil && !p.over {
		err = withoutMark(err)
		if p.Owner != nil {
			err = p.Owner.Failed(err)
		}
		p.failure = &failure{err: err}
	}
	return !p.over
}

func (p *Proxy) aToB() {
	for goesOn := true; goesOn; {
		n, err := copyTo(p.B, p.A)
		goesOn = p.hasSent(n, err)
	}
}

// hasSent is the end of a copy from A to B, and reports whether there is to be another one.
//
//go:noinline
func (p *Proxy) hasSent(n int64, err error) (goesOn bool) {
	p.sent += n
	parked, goesOn := p.park(&p.there, p.A, err, p.aToBAgain)
	if goesOn {
		return !parked
	}
	p.copied(p.B, p.A, err)
	p.other.Done()
	return false
}

func (p *Proxy) aToBAgain() {
	p.unpark(&p.there)
	p.aToB()
}

// bToA copies, waits for the other direction, and closes both conns.
func (p *Proxy) bToA() error {
	n, err := copyTo(p.A, p.B)
	p.received = n
	return p.hasReceived(err)
}

// bToAStarted is bToA after Start.
func (p *Proxy) bToAStarted() {
	for goesOn := true; goesOn; {
		n, err := copyTo(p.A, p.B)
		goesOn = p.hasReceivedSome(n, err)
	}
}

// hasReceivedSome is the end of a copy from B to A, and reports whether there is to be another one.
//
//go:noinline
func (p *Proxy) hasReceivedSome(n int64, err error) (goesOn bool) {
	p.received += n
	parked, goesOn := p.park(&p.back, p.B, err, p.bToAAgain)
	if goesOn {
		return !parked
	}
	p.done(p.hasReceived(err))
	return false
}

func (p *Proxy) bToAAgain() {
	p.unpark(&p.back)
	p.bToAStarted()
}

//go:noinline
func (p *Proxy) hasReceived(err error) error {
	p.copied(p.A, p.B, err)
	p.other.Wait()
	p.Tally.end(p, p.sent, p.received)
	if p.Owner != nil {
		p.Owner.Copied(p.sent, p.received)
	}
	err = p.end()
	_ = p.A.Close()
	_ = p.B.Close()
	return err
}

// end has the Proxy fail no more, and returns why it has.
func (p *Proxy) end() error {
	p.mu.Lock()
	p.over = true
	if timer := p.standby.timer; timer != nil {
		timer.Stop()
	}
	p.mu.Unlock()
	f := p.failure
	if f == nil {
		return nil
	}
	if f.late != nil {
		f.late.Stop()
	}
	if f.dead != nil { // unless it has been reset already, it has said its last words
		p.resetAround(f.dead)
	}
	return f.err
}

// copied is the end of a copy: the destination's direction ends, and the source is watched for as
// long as the other direction goes on, since nobody else would notice that it is reset. Like all
// that is not done while a direction copies, it is a function of its own: the stacks of thousands
// of goroutines are smaller for it, and the runtime begins new ones as large as those are.
//
//go:noinline
func (p *Proxy) copied(dst, src Conn, err error) {
	if err == nil {
		err = ToDestination(dst.CloseWrite())
	}
	if err == nil {
		p.hasEnded(src)
		err = AwaitReset(src)
	}
	if err != nil {
		p.failedTo(dst, src, err)
	}
}

// hasEnded takes note that a conn has said all it has to say, and that the other one has it.
func (p *Proxy) hasEnded(src Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aEnded = p.aEnded || src == p.A
	p.bEnded = p.bEnded || src == p.B
}

// failedTo is the end of a direction by err. Where dst has failed, it may have said something
// before that: the other direction reads it out, and ends by itself. Where src has, or dst had
// ended, there is nothing more to be had from it, and nobody to write to.
func (p *Proxy) failedTo(dst, src Conn, err error) {
	if !p.because(err) {
		return
	}
	if !isOfDestination(err) {
		p.resetAround(src)
		return
	}
	p.mu.Lock()
	if p.aEnded && dst == p.A || p.bEnded && dst == p.B {
		p.mu.Unlock()
		p.resetAround(dst)
		return
	}
	defer p.mu.Unlock()
	if f := p.failure; f.late == nil {
		f.dead = dst
		f.late = time.AfterFunc(lastWords, func() { p.Fail(err) })
	}
}

// resetAround resets a conn that has failed, and then the other one, unless that is being done.
func (p *Proxy) resetAround(dead Conn) {
	if !p.resets.CompareAndSwap(false, true) {
		return
	}
	other := p.A
	if dead == p.A {
		other = p.B
	}
	_ = Reset(dead)
	ResetDelivered(other, lastWords)
}

// socketed is a *Socket, or something that embeds one.
type socketed interface{ socket() *Socket }

func (s *Socket) socket() *Socket { return s }

// copyTo copies until src ends, holding no memory while it waits: in the kernel between sockets, as
// the conns themselves know how to where one of them is none, and otherwise through pooled memory.
// It returns the number of bytes written.
func copyTo(dst io.Writer, src io.Reader) (int64, error) {
	to, toSocket := dst.(socketed)
	from, fromSocket := src.(socketed)
	if toSocket && fromSocket {
		return splice(to.socket(), from.socket())
	}
	if r, ok := dst.(io.ReaderFrom); ok && !toSocket {
		return r.ReadFrom(src)
	}
	if w, ok := src.(io.WriterTo); ok && !fromSocket {
		return w.WriteTo(dst)
	}
	return copyBuffered(dst, src)
}

// copyBuffered copies through pooled memory.
func copyBuffered(dst io.Writer, src io.Reader) (int64, error) {
	room := PooledRoom{to: dst}
	defer room.Release()
	var total int64
	for {
		n, err := copyOnce(dst, src, &room)
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// copyOnce reads once through room, waiting if need be, and writes that.
func copyOnce(dst io.Writer, src io.Reader, room *PooledRoom) (int, error) {
	n, err := ReadLazy(src, room)
	if err != nil {
		return 0, err
	}
	return writeRead(dst, room, n)
}

// writeRead writes the n bytes that a read left in room.
//
//go:noinline
func writeRead(dst io.Writer, room *PooledRoom, n int) (int, error) {
	filled := room.Filled(n)
	if room.short {
		AwaitTakes(dst)
	}
	n, err := dst.Write(filled)
	return n, ToDestination(err)
}

// PooledRoom is a Room of one pooled buffer, which grows while reads fill it and shrinks again when
// they do not. The zero value is ready. It has one user at a time.
type PooledRoom struct {
	to     io.Writer // where what is read goes; nil is unknown
	short  bool      // the last buffer was smaller than it could be, for the sake of memory
	class  Class
	buffer *Buffer
	bufs   [1][]byte
}

// Acquire implements Room.
func (r *PooledRoom) Acquire() [][]byte {
	class := ClassTo(r.to, r.class)
	r.short = class < r.class
	if r.buffer != nil && r.buffer.class != class {
		r.Release()
	}
	if r.buffer == nil {
		r.buffer = GetBuffer(class)
		r.bufs[0] = r.buffer.Bytes
	}
	return r.bufs[:]
}

// Release implements Room: it gives the buffer back.
func (r *PooledRoom) Release() {
	r.buffer.Free()
	r.buffer, r.bufs[0] = nil, nil
}

// Filled returns the n bytes that a read left in the room, valid until the next Acquire or Release.
func (r *PooledRoom) Filled(n int) []byte {
	if !r.short {
		r.class = Adapt(r.class, n)
	}
	return r.buffer.Bytes[:n]
}

// Adapt returns the class of buffer to read with next, after a read of n bytes with class c: one up
// if it was full, one down if the next smaller one would have been half empty.
func Adapt(c Class, n int) Class {
	switch {
	case n >= classSize[c]-BufferSlack && c < Huge:
		return c + 1
	case c > Small && n < classSize[c-1]/2:
		return c - 1
	}
	return c
}

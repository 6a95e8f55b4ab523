package faultnet

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// chunkSize is the most that is read, and queued, in one piece.
	chunkSize = 32 << 10
	// defaultBuffer is Config.Buffer where it is 0.
	defaultBuffer = 256 << 10
	// maxInFlight bounds the bytes in flight of a line with a delay.
	maxInFlight = 64 << 20
	// pieceCost is charged to the queue for each piece beside its bytes.
	pieceCost = 64
)

// piece is one thing in flight.
type piece struct {
	what what
	data []byte
	due  time.Time
}

// what travels: data, or one of the ends, each of which may follow those before it.
type what int

const (
	data what = iota
	fin
	rst
	mute // nothing more is said to the destination
)

// lane is one direction of a link. Package faultnet's comment draws it.
type lane struct {
	// Set once.
	dir      Direction
	link     *Link
	back     *lane // the other direction
	src, dst *end
	buffer   int
	tap      func([]byte)
	wake     chan struct{} // to the drain: something has changed
	room     chan struct{} // to the pump: something has changed
	ended    sync.Once

	// Owned by the pump.
	script    *script
	holdUntil time.Time // when the script has to give up waiting for a swap

	// Guarded by mu.
	mu       sync.Mutex
	pace     pacer
	queue    []piece
	queued   int  // bytes in it, and pieceCost for each piece
	last     what // the last end that entered the queue; data is none
	hole     bool // live: nothing is delivered
	parked   bool // the pump sits in a black hole of the plan
	lateRst  bool // a RST of the source waits for the end of that hole
	detached bool // ended by hand: an error of dst is no news
}

// pump reads the source until it ends.
func (l *lane) pump() {
	l.script.feed(nil)
	buf := make([]byte, chunkSize)
	for {
		n, err := l.read(buf)
		if n > 0 {
			l.take(buf[:n])
		}
		if err != nil {
			l.sourceEnded(err)
			return
		}
	}
}

// read reads the source, and meanwhile sees to it that a swap does not wait too long.
func (l *lane) read(buf []byte) (int, error) {
	wait := l.script.holding()
	switch {
	case wait > 0 && l.holdUntil.IsZero():
		l.holdUntil = time.Now().Add(wait)
		l.src.conn.SetReadDeadline(l.holdUntil)
	case wait == 0 && !l.holdUntil.IsZero():
		l.holdUntil = time.Time{}
		l.src.conn.SetReadDeadline(time.Time{})
	}
	n, err := l.src.conn.Read(buf)
	if !l.holdUntil.IsZero() && errors.Is(err, os.ErrDeadlineExceeded) {
		l.script.release()
		return n, nil
	}
	return n, err
}

func (l *lane) take(p []byte) {
	if l.tap != nil {
		l.tap(p)
	}
	if !l.over() {
		l.script.feed(p)
	}
}

// over reports whether what the source sends is swallowed.
func (l *lane) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last != data
}

// sourceEnded passes the end of the source on, and stays to see whether a RST follows its FIN.
func (l *lane) sourceEnded(err error) {
	if !errors.Is(err, io.EOF) {
		l.finish(rst)
		l.link.part()
		return
	}
	if !l.holdUntil.IsZero() {
		l.src.conn.SetReadDeadline(time.Time{})
	}
	if !l.over() {
		l.script.end()
	}
	l.finish(fin)
	l.link.part()
	if l.src.waitReset() {
		l.sourceReset()
	}
}

// act does what the script says.
func (l *lane) act(a act) {
	if a.fault == nil {
		l.send(a.data)
		return
	}
	switch a.fault.Kind {
	case Delay:
		l.mu.Lock()
		l.pace.delay = a.fault.For
		l.mu.Unlock()
	case Bandwidth:
		l.mu.Lock()
		l.pace.rate = a.fault.Rate
		l.mu.Unlock()
	case BlackHole:
		l.park(a.fault.For)
	case End, Truncate:
		l.finish(fin)
	case Cut:
		l.finish(fin)
		l.back.finish(fin)
	case Reset:
		l.finish(rst)
		l.back.finish(rst)
	case HalfOpen:
		l.link.hold()
		l.back.finish(mute) // first: the reset of dst is an end of back's source
		l.finish(rst)
	}
}

// send puts p on the line, in pieces, at the pace of the line.
func (l *lane) send(p []byte) {
	for len(p) > 0 {
		n, rest, ok := l.enqueue(p)
		p = p[n:]
		switch {
		case !ok:
			return
		case n == 0:
			l.pause(-1)
		case rest > 0:
			l.sleep(rest)
		}
	}
}

// enqueue queues a piece from the front of p, if there is room, and says how
// long to rest after it. It is not ok when the direction is over.
func (l *lane) enqueue(p []byte) (n int, rest time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != data || l.link.stopped() {
		return 0, 0, false
	}
	if l.queued >= l.buffer+l.pace.inFlight() {
		return 0, 0, true
	}
	n = min(len(p), l.pace.step())
	now := time.Now()
	l.queue = append(l.queue, piece{data: append([]byte(nil), p[:n]...), due: l.pace.stamp(now, n)})
	l.queued += n + pieceCost
	notify(l.wake)
	return n, l.pace.rest(now), true
}

// finish queues an end behind what is in flight. An end that says no more than
// the last one is left out.
func (l *lane) finish(w what) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w <= l.last {
		return
	}
	l.last = w
	l.queue = append(l.queue, piece{what: w, due: l.pace.stamp(time.Now(), 0)})
	notify(l.wake)
	notify(l.room)
}

// sourceReset passes on a RST that the source sent; no black hole lets it through.
func (l *lane) sourceReset() {
	l.mu.Lock()
	wait := l.parked
	l.lateRst = wait
	l.mu.Unlock()
	if !wait {
		l.finish(rst)
	}
}

// park sits in a black hole for d, or forever if d is 0.
func (l *lane) park(d time.Duration) {
	l.setParked(true)
	if d > 0 {
		l.sleep(d)
	} else {
		for !l.over() && !l.link.stopped() {
			l.pause(-1)
		}
	}
	if l.setParked(false) {
		l.finish(rst)
	}
}

// setParked returns whether a RST came while it was parked.
func (l *lane) setParked(on bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parked = on
	return l.lateRst && !on
}

// sleep lets d pass, less if the direction ends meanwhile.
func (l *lane) sleep(d time.Duration) {
	until := time.Now().Add(d)
	for !l.over() && !l.link.stopped() {
		if d = time.Until(until); d <= 0 {
			return
		}
		l.pause(d)
	}
}

// pause waits for d (negative is forever) or until the pump is notified.
func (l *lane) pause(d time.Duration) { l.link.wait(l.room, d) }

// notify makes one wait for c return, now or next time.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Package udp has datagrams go through streams. A Listener makes a flow of each client that sends
// it datagrams, and Dial makes one to a service; both are conns as a portal carries them, whose
// bytes are the datagrams, each behind its length:
//
//	length (2) | datagram
//
// So whoever reads from the one and writes to the other, in whatever pieces, has each datagram
// arrive as it was sent, or not at all: none is split, joined, cut short, repeated, or put in front
// of one that was sent before it. None is waited for: where the stream takes them more slowly than
// they come, the oldest of those that wait are dropped.
//
// The package knows sockets, and neither routes nor channels.
package udp

import (
	"errors"
	"log/slog"
	"time"

	"github.com/secureportal/sp/internal/budget"
)

const (
	// MaxDatagram is the most bytes of a datagram that is carried: the most that UDP has room for
	// in IPv4. IPv6 has room for 20 more; such a datagram is dropped.
	MaxDatagram = 65507

	headerSize = 2 // of a frame

	// What waits for the stream, of each flow: a second or two of a call or a game, and no more
	// than four of the largest.
	queueDatagrams = 128
	queueBytes     = 256 << 10
	// mostUnsent is how many bytes the stream may have that it has not sent, until it gets no more.
	mostUnsent = 16 << 10
	// leastPause is until it is asked again, and mostPause after a while: the system tells nobody.
	leastPause = time.Millisecond
	mostPause  = 64 * time.Millisecond

	// alwaysKept is how large a datagram is that may wait however little memory there is, if none
	// does yet.
	alwaysKept = 2 << 10
)

// DefaultIdle is how long a flow lasts in which nothing is said.
const DefaultIdle = 3 * time.Minute

const (
	// askedIdle is the same of a flow in which a client has only asked, or has asked and been
	// answered. Nothing tells whether it will say more, or exists at all.
	askedIdle = 30 * time.Second

	// quiet is the same of a flow that whoever carries it wants to be rid of.
	quiet = time.Second

	// DefaultFlows is how many flows a Listener has at the same time.
	DefaultFlows = 4096

	// maxOpening is how many of them are being opened at the same time.
	maxOpening = 64
	// maxWaiting is how many wait for that.
	maxWaiting = 256
	// failedPause is for how long a client is not heard whose flow was reset: another one would be
	// opened at once, and end likewise.
	failedPause = time.Second
	// readBuffer is what the kernel is asked to have room for, in front of a socket.
	readBuffer = 1 << 20
)

var (
	errTooLarge = errors.New("the far end says that a datagram is larger than any can be")
	errClipped  = errors.New("the far end ended in the middle of a datagram")
)

// Config is what a Listener and Dial have in common.
type Config struct {
	// Idle ends a flow in which nothing has been said for so long. 0 means DefaultIdle for a
	// Listener, and for ever for Dial: whoever is at the other end of the stream ends it.
	Idle time.Duration

	// Flows is how many a Listener has at the same time. While it has them, who is new is not
	// heard. 0 means DefaultFlows.
	Flows int

	Logger *slog.Logger // nil means slog.Default
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.Default()
	}
	return c.Logger
}

// queue is frames that wait for a stream. The memory is the process's, which it asks for more than
// the least. It has no lock.
type queue struct {
	frames [][]byte
	bytes  int
}

// push puts a frame behind the others, and drops the oldest where there is no room for all. It
// returns how many were dropped, the frame itself perhaps among them.
func (q *queue) push(frame []byte) (dropped int) {
	for len(q.frames) > 0 && !q.fits(len(frame)) {
		q.pop()
		dropped++
	}
	if len(frame) > alwaysKept && !budget.Process.Fits(int64(len(frame))) {
		return dropped + 1
	}
	budget.Process.Take(int64(len(frame)))
	q.bytes += len(frame)
	q.frames = append(q.frames, frame)
	return dropped
}

// fits tells whether there is room for n bytes more.
func (q *queue) fits(n int) bool {
	return len(q.frames) < queueDatagrams && q.bytes+n <= queueBytes &&
		budget.Process.Fits(int64(n))
}

// pop returns the oldest, or nil.
func (q *queue) pop() []byte {
	if len(q.frames) == 0 {
		return nil
	}
	frame := q.frames[0]
	q.frames[0] = nil
	if q.frames = q.frames[1:]; len(q.frames) == 0 {
		q.frames = nil
	}
	q.bytes -= len(frame)
	budget.Process.Give(int64(len(frame)))
	return frame
}

// clear drops all.
func (q *queue) clear() (dropped int) {
	for q.pop() != nil {
		dropped++
	}
	return dropped
}

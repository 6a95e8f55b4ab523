package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/secureportal/sp/internal/netio"
)

// quicConn is a connection that this side has made, or that has come in. To who hands it on it is a
// Link, from which nothing can be read.
//
// QUIC forgets what has come, and has not been read yet, when a connection ends. So who wants to
// end one says so first, by a stream without a byte, and the other side ends it when it has no link
// any more.
type quicConn struct {
	usage
	*quic.Conn

	of            *quicTransport // who has dialed; nil otherwise, as is the next one
	socket        *quicSocket
	release       func() // gives back what is beneath; called once, at the end
	local, remote urlAddr
	ending        context.Context // done when the connection is to end

	bids     sync.Once
	farewell sync.Once
	parting  chan struct{} // closed when the other side wants to end the connection
}

var _ Link = (*quicConn)(nil)

func newQUICConn(inner *quic.Conn, idle time.Duration) *quicConn {
	const scheme = "quic"
	ending, end := context.WithCancel(inner.Context())
	return &quicConn{
		usage: usage{end: end, idle: idle}, Conn: inner, ending: ending,
		local:   urlAddr{Addr: inner.LocalAddr(), scheme: scheme},
		remote:  urlAddr{Addr: inner.RemoteAddr(), scheme: scheme},
		parting: make(chan struct{}),
	}
}

// LocalAddr implements net.Conn.
func (c *quicConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *quicConn) RemoteAddr() net.Addr { return c.remote }

// Read implements net.Conn.
func (c *quicConn) Read([]byte) (int, error) { return 0, errNoLink }

// Write implements net.Conn.
func (c *quicConn) Write([]byte) (int, error) { return 0, errNoLink }

// CloseWrite implements netio.Conn.
func (c *quicConn) CloseWrite() error { return errNoLink }

// SetDeadline implements net.Conn.
func (c *quicConn) SetDeadline(time.Time) error { return errNoLink }

// SetReadDeadline implements net.Conn.
func (c *quicConn) SetReadDeadline(time.Time) error { return errNoLink }

// SetWriteDeadline implements net.Conn.
func (c *quicConn) SetWriteDeadline(time.Time) error { return errNoLink }

var errNoLink = errors.New("a QUIC connection is no link: it carries some")

// Close implements net.Conn: the connection is about to end.
func (c *quicConn) Close() error {
	c.end()
	return nil
}

// leadsTo implements shared.
func (c *quicConn) leadsTo() Address { return c.remote.at }

// shut implements shared.
func (c *quicConn) shut() { c.end() }

// abandon ends the connection at once, whatever has not been read.
func (c *quicConn) abandon() { _ = c.CloseWithError(0, "") }

// open implements shared. Where nothing has come for a while, it asks the other side for a sign.
func (c *quicConn) open(ctx context.Context) (Link, error) {
	if err := c.ask(ctx); err != nil {
		c.leave()
		return nil, err
	}
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		c.leave()
		return nil, c.told(err)
	}
	return newQUICLink(c, s), nil
}

var errQUICSilent = errors.New("the QUIC connection says nothing any more")

// ask waits until something comes, if nothing has for a while: what is said of a stream that is
// reset before its first byte, which is nothing else.
func (c *quicConn) ask(ctx context.Context) error {
	if c.socket.quietFor() < c.of.lately {
		return nil
	}
	coming := c.socket.next()
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return c.told(err)
	}
	refuse(s)
	timer := time.NewTimer(c.of.taken)
	defer timer.Stop()
	select {
	case <-coming:
		return nil
	case <-timer.C:
		return errQUICSilent
	case <-c.Context().Done():
		return c.told(context.Cause(c.Context()))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// beginning is how a stream of the other side's begins.
type beginning uint8

const (
	aLink     beginning = iota
	aSign               // it has been reset: somebody asks whether anybody is there
	aFarewell           // it has ended: the other side wants to end the connection
)

// beginningWithin is for what a stream begins with to be read, after it has come.
const beginningWithin = 50 * time.Millisecond

func beginningOf(s *quic.Stream) beginning {
	var one [1]byte
	_ = s.SetReadDeadline(time.Now().Add(beginningWithin))
	n, err := s.Peek(one[:])
	_ = s.SetReadDeadline(time.Time{})
	switch {
	case n > 0, errors.Is(err, os.ErrDeadlineExceeded):
		return aLink
	case err == io.EOF:
		return aFarewell
	}
	return aSign
}

// isLink tells whether a stream of the other side's is a link, and does what there is to do if it
// is none.
func (c *quicConn) isLink(s *quic.Stream) bool {
	switch beginningOf(s) {
	case aLink:
		return true
	case aFarewell:
		c.farewell.Do(func() { close(c.parting) })
		c.retire()
	}
	refuse(s)
	return false
}

// refuse resets a stream that is no link, or one too many.
func refuse(s *quic.Stream) {
	s.CancelRead(quicReset)
	s.CancelWrite(quicReset)
}

// await waits until the connection is to end, ends it, and gives back what is beneath. The other
// side opens no links.
func (c *quicConn) await() {
	for {
		s, err := c.AcceptStream(c.ending)
		if err != nil {
			break
		}
		if c.isLink(s) {
			refuse(s)
		}
	}
	c.part()
}

// part ends a connection whose other side ends it as well, or has had time to.
func (c *quicConn) part() {
	c.over()
	c.say(c.Context())
	_ = c.CloseWithError(0, "")
	c.release()
}

// bid says farewell, if it has not been said yet.
func (c *quicConn) bid() {
	c.bids.Do(func() {
		s, err := c.OpenStream()
		if err != nil {
			return // there are too many, or no connection any more
		}
		_ = s.Close()
		s.CancelRead(quicReset)
	})
}

// say says farewell, and waits for the other side to end the connection: as long as it is there,
// and not for long.
func (c *quicConn) say(until context.Context) {
	select {
	case <-c.parting:
		return
	case <-until.Done():
		return
	default:
	}
	ctx, cancel := context.WithTimeout(until, quicFarewell)
	defer cancel()
	before := c.ConnectionStats().PacketsReceived
	c.bid()
	silent := time.AfterFunc(quicSign, func() {
		if c.ConnectionStats().PacketsReceived == before {
			cancel()
		}
	})
	defer silent.Stop()
	for {
		s, err := c.AcceptStream(ctx)
		if err != nil {
			return
		}
		if beginningOf(s) == aFarewell {
			return
		}
		refuse(s)
	}
}

// quicCaller is a connection that has come in.
type quicCaller struct {
	*quicConn
	since   time.Time
	carries atomic.Bool // Carry has been called, or will not be
}

var (
	_ Carrying       = (*quicCaller)(nil)
	_ netio.Resetter = (*quicCaller)(nil)
)

// Close implements net.Conn: the connection is about to end, and has ended if it carries nothing.
func (c *quicCaller) Close() error {
	if c.carries.Swap(true) {
		c.end()
		return nil
	}
	c.abandon()
	c.release()
	return nil
}

// Reset implements netio.Resetter. Of who has only just come nothing is lost.
func (c *quicCaller) Reset() error {
	if time.Since(c.since) < quicNewcomer {
		c.abandon()
	}
	return c.Close()
}

// Carry implements Carrying.
func (c *quicCaller) Carry(
	ctx context.Context, run func(func()) bool, within time.Duration, serve func(Link),
) error {
	if c.carries.Swap(true) {
		return net.ErrClosed
	}
	c.begin(within)
	defer c.part()
	stop := context.AfterFunc(ctx, func() { run(c.bid) })
	defer stop()
	for {
		s, err := c.AcceptStream(c.ending)
		if err != nil {
			return c.told(context.Cause(c.Context()))
		}
		if !run(func() { c.carry(ctx, s, serve) }) {
			return net.ErrClosed
		}
	}
}

// carry hands over a stream, if it is a link. Streams come in the order of their numbers, so none
// may keep others waiting.
func (c *quicCaller) carry(ctx context.Context, s *quic.Stream, serve func(Link)) {
	switch {
	case !c.isLink(s):
	case ctx.Err() == nil && c.enter():
		serve(newQUICLink(c.quicConn, s))
	default:
		refuse(s)
	}
}

// quicFresh is a connection that has just been made, and may be one too many.
type quicFresh struct{ *quicConn }

// Close implements net.Conn.
func (c quicFresh) Close() error {
	c.over()
	c.abandon()
	c.release()
	return nil
}

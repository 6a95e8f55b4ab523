package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/secureportal/sp/internal/netio"
)

// quicReset is the code of a stream that has been reset.
const quicReset = quic.StreamErrorCode(1)

// quicLink is a link: a stream of a QUIC connection.
type quicLink struct {
	stream *quic.Stream
	by     *quicConn

	writing sync.Mutex // held while somebody writes or ends that, and guards what follows
	written bool       // a stream that the dialer ends without a byte would be a farewell

	reading sync.Mutex // held while somebody reads

	mu       sync.Mutex // guards what follows
	deadline time.Time  // for reading
	closed   bool
	another  chan struct{} // closed when there is another deadline; nil if nobody waits for that
}

var (
	_ netio.Conn              = (*quicLink)(nil)
	_ netio.LazyReader        = (*quicLink)(nil)
	_ netio.Quieter           = (*quicLink)(nil)
	_ netio.Resetter          = (*quicLink)(nil)
	_ netio.DeliveredResetter = (*quicLink)(nil)
	_ netio.ResetAwaiter      = (*quicLink)(nil)
)

// newQUICLink makes a link of a stream, which has been counted by its connection.
func newQUICLink(by *quicConn, s *quic.Stream) *quicLink { return &quicLink{stream: s, by: by} }

// LocalAddr implements net.Conn.
func (l *quicLink) LocalAddr() net.Addr { return l.by.local }

// RemoteAddr implements net.Conn.
func (l *quicLink) RemoteAddr() net.Addr { return l.by.remote }

// Read implements net.Conn.
func (l *quicLink) Read(p []byte) (int, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	n, err := l.stream.Read(p)
	if n > 0 {
		return n, nil // what else is wrong the next one is told
	}
	return n, l.by.told(err)
}

// ReadLazy implements netio.LazyReader: it waits for one byte, and then takes what is there.
func (l *quicLink) ReadLazy(room netio.Room) (int, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if err := l.awaitByte(); err != nil {
		return 0, l.by.told(err)
	}
	n, err := l.stream.Read(room.Acquire()[0])
	if n > 0 {
		return n, nil
	}
	room.Release()
	return 0, l.by.told(orNoProgress(err))
}

// awaitByte waits until there is something to read.
func (l *quicLink) awaitByte() error {
	var one [1]byte
	n, err := l.stream.Peek(one[:])
	if n > 0 {
		return nil
	}
	return err
}

// Write implements net.Conn.
func (l *quicLink) Write(p []byte) (int, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.written = l.written || len(p) > 0
	n, err := l.stream.Write(p)
	return n, l.by.told(err)
}

// CloseWrite implements netio.Conn.
func (l *quicLink) CloseWrite() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.by.told(l.endWriting())
}

// endWriting is called with writing held.
func (l *quicLink) endWriting() error {
	if !l.written && l.by.socket != nil {
		l.stream.CancelWrite(quicReset)
		return nil
	}
	return l.stream.Close()
}

// Close implements net.Conn. Where somebody is still writing, what has been cut does not look like
// an end.
func (l *quicLink) Close() error {
	if !l.close() {
		return nil
	}
	defer l.by.leave()
	if l.writing.TryLock() {
		_ = l.endWriting()
		l.writing.Unlock()
	} else {
		l.stream.CancelWrite(quicReset)
	}
	l.stream.CancelRead(quicReset)
	return nil
}

// close reports whether the link is closed just now.
func (l *quicLink) close() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.closed
	l.closed = true
	return !before
}

// Reset implements netio.Resetter.
func (l *quicLink) Reset() error {
	if l.close() {
		defer l.by.leave()
	}
	l.stream.CancelWrite(quicReset)
	l.stream.CancelRead(quicReset)
	return nil
}

// ResetDelivered implements netio.DeliveredResetter: QUIC sees to it that what has been written
// arrives before the reset does, where the other side can do that (RESET_STREAM_AT).
func (l *quicLink) ResetDelivered(time.Duration) {
	l.stream.SetReliableBoundary()
	_ = l.Reset()
}

// Quiet implements netio.Quieter.
func (l *quicLink) Quiet() bool {
	if l.by.Context().Err() != nil {
		return false
	}
	if !l.reading.TryLock() {
		return true // who reads is told
	}
	defer l.reading.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	_ = l.stream.SetReadDeadline(time.Now().Add(quietWithin)) // what is past keeps it from looking
	defer l.stream.SetReadDeadline(l.deadline)
	return errors.Is(l.awaitByte(), os.ErrDeadlineExceeded)
}

// quietWithin is for a look at what has come.
const quietWithin = 200 * time.Microsecond

// AwaitReset implements netio.ResetAwaiter: who resets what he has ended says that he does not read
// any more.
func (l *quicLink) AwaitReset() error {
	for {
		by, another := l.nextDeadline()
		ctx, cancel := l.stream.Context(), context.CancelFunc(func() {})
		if !by.IsZero() {
			ctx, cancel = context.WithDeadline(ctx, by)
		}
		select {
		case <-ctx.Done():
			err := context.Cause(ctx)
			cancel()
			switch {
			case errors.Is(err, quic.ErrStreamClosed):
				return nil
			case errors.Is(err, context.DeadlineExceeded):
				return os.ErrDeadlineExceeded
			}
			return l.by.told(err)
		case <-another:
			cancel()
		}
	}
}

// nextDeadline returns the deadline for reading, and what is closed when there is another one.
func (l *quicLink) nextDeadline() (by time.Time, another <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.another == nil {
		l.another = make(chan struct{})
	}
	return l.deadline, l.another
}

// SetDeadline implements net.Conn.
func (l *quicLink) SetDeadline(t time.Time) error {
	return errors.Join(l.SetReadDeadline(t), l.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (l *quicLink) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline = t
	if l.another != nil {
		close(l.another)
		l.another = nil
	}
	return l.stream.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (l *quicLink) SetWriteDeadline(t time.Time) error { return l.stream.SetWriteDeadline(t) }

// told says what an error of QUIC's is to who knows sockets: the other side has reset the link, or
// this side has closed it.
func (c *quicConn) told(err error) error {
	var stream *quic.StreamError
	var application *quic.ApplicationError
	switch {
	case err == nil, err == io.EOF, errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, quic.ErrStreamClosed):
		return net.ErrClosed
	case errors.As(err, &stream):
		if !stream.Remote {
			return net.ErrClosed
		}
		return &quicEnd{"the other side has reset the link", syscall.ECONNRESET}
	case errors.As(err, &application):
		if !application.Remote {
			return net.ErrClosed
		}
		return &quicEnd{"the other side has ended the QUIC connection", syscall.ECONNRESET}
	}
	return &quicEnd{"the QUIC connection has failed: " + failure(err), syscall.ECONNRESET}
}

// failure says in words of the user's why a connection has ended by itself.
func failure(err error) string {
	var idle *quic.IdleTimeoutError
	var restarted *quic.StatelessResetError
	switch {
	case errors.As(err, &idle):
		return "nothing has come from the other side"
	case errors.As(err, &restarted):
		return "the other side does not know it any more"
	case isOneOf(err, refusals):
		return "nobody is there any more"
	case errors.Is(err, net.ErrClosed):
		return "its socket is closed"
	}
	return strings.TrimPrefix(err.Error(), "quic: ")
}

// quicEnd is why there is no link any more.
type quicEnd struct {
	text string
	as   error // what it would be of a socket
}

func (e *quicEnd) Error() string { return e.text }
func (e *quicEnd) Unwrap() error { return e.as }

package mux

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/internal/netio"
)

// Link is one link among many on a carrier. It is a net.Conn with CloseWrite.
//
// It has no reset. To the other side a link that is closed before its end is one whose data has
// ended: a protocol above it has to tell the two apart, as a secure channel does.
type Link struct {
	stream *yamux.Stream // its Close is the half-close
	mux    *Mux

	closed  atomic.Bool
	ended   atomic.Bool // the other side has ended its direction
	reading sync.Mutex  // held while somebody reads
}

var (
	_ netio.Conn       = (*Link)(nil)
	_ netio.LazyReader = (*Link)(nil)
	_ netio.Quieter    = (*Link)(nil)
)

// Read implements net.Conn.
func (l *Link) Read(p []byte) (int, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.closed.Load() {
		return 0, net.ErrClosed
	}
	n, err := l.stream.Read(p)
	if err == io.EOF {
		l.ended.Store(true)
	}
	switch {
	case err != nil && l.closed.Load():
		err = net.ErrClosed
	case err == yamux.ErrTimeout:
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// ReadLazy implements netio.LazyReader: reading into nothing waits until there is something.
func (l *Link) ReadLazy(room netio.Room) (int, error) {
	if _, err := l.Read(nil); err != nil {
		return 0, err
	}
	return l.Read(room.Acquire()[0])
}

// Write implements net.Conn.
func (l *Link) Write(p []byte) (int, error) { return l.stream.Write(p) }

// CloseWrite ends this side's direction: the other side reads io.EOF.
func (l *Link) CloseWrite() error { return l.stream.Close() }

// Close ends the link both ways, and whatever waits for it. What the other side still sends is
// read and thrown away, or it would be kept.
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	err := l.stream.Close()
	_ = l.stream.SetDeadline(time.Unix(1, 0))
	if !l.ended.Load() {
		l.mux.config.Run(func() { l.mux.drain(l) })
	}
	return err
}

// Quiet implements netio.Quieter.
func (l *Link) Quiet() bool { return !l.closed.Load() && !l.mux.session.IsClosed() }

// LocalAddr implements net.Conn: it is the carrier's.
func (l *Link) LocalAddr() net.Addr { return l.stream.LocalAddr() }

// RemoteAddr implements net.Conn: it is the carrier's.
func (l *Link) RemoteAddr() net.Addr { return l.stream.RemoteAddr() }

// SetDeadline implements net.Conn.
func (l *Link) SetDeadline(t time.Time) error { return l.stream.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (l *Link) SetReadDeadline(t time.Time) error { return l.stream.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (l *Link) SetWriteDeadline(t time.Time) error { return l.stream.SetWriteDeadline(t) }

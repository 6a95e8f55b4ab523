// Package netio is what sp asks of sockets beyond net.Conn: waiting for data without holding a buffer, reading into
// and writing from several buffers with one system call, joining two connections in the kernel, and resetting.
//
// It knows nothing of messages, keys or routes, and starts no goroutine that outlives the call that started it.
package netio

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
)

// Conn is a net.Conn whose write direction can be ended on its own. After CloseWrite the other end reads io.EOF.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Room lends a LazyReader the memory to read into.
type Room interface {
	// Acquire returns where the next bytes go, in order. It is called when there may be something to read.
	Acquire() [][]byte
	// Release takes the memory back unused, since there is nothing to read yet.
	Release()
}

// LazyReader is a connection that can wait for data without holding a buffer.
type LazyReader interface {
	// ReadLazy waits for data, then reads once into what room lends. It returns like io.Reader's Read, except that 0
	// bytes always come with an error. Only one goroutine may read at a time.
	ReadLazy(room Room) (int, error)
}

// ReadLazy reads once from c into what room lends, holding nothing while it waits if c is a LazyReader.
func ReadLazy(c io.Reader, room Room) (int, error) {
	if lazy, ok := c.(LazyReader); ok {
		return lazy.ReadLazy(room)
	}
	n, err := c.Read(room.Acquire()[0])
	if n > 0 {
		return n, nil // a reader that gave data with its error gives the error again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}

// BuffersWriter is a connection that writes several buffers with one system call.
type BuffersWriter interface {
	// WriteBuffers writes all of b, and consumes it as net.Buffers.WriteTo does.
	WriteBuffers(b *net.Buffers) (int64, error)
}

// WriteBuffers writes all of b to w, with one system call where w can.
func WriteBuffers(w io.Writer, b *net.Buffers) (int64, error) {
	if v, ok := w.(BuffersWriter); ok {
		return v.WriteBuffers(b)
	}
	return b.WriteTo(w)
}

// Resetter is a connection that can be ended so that its other end sees a reset rather than an end.
type Resetter interface {
	Reset() error
}

// Reset closes c so that the other end sees an error and not an end of data, where c can tell the two apart.
func Reset(c net.Conn) error {
	if r, ok := c.(Resetter); ok {
		return r.Reset()
	}
	return c.Close()
}

// Socket is a TCP or Unix stream socket with all that this package offers. It is safe for concurrent use like any
// net.Conn, except that ReadLazy has one caller at a time.
type Socket struct {
	stream
	raw   syscall.RawConn
	ended atomic.Bool // CloseWrite has been called
	lazy
}

// stream is what *net.TCPConn and *net.UnixConn have in common.
type stream interface {
	Conn
	syscall.Conn
	io.ReaderFrom
}

var (
	_ LazyReader    = (*Socket)(nil)
	_ BuffersWriter = (*Socket)(nil)
	_ Resetter      = (*Socket)(nil)
)

// Wrap returns c as a *Socket if it is a TCP or a Unix connection, and otherwise c itself.
func Wrap(c net.Conn) net.Conn {
	s, ok := c.(stream)
	if !ok {
		return c
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return c
	}
	socket := &Socket{stream: s, raw: raw}
	socket.init()
	return socket
}

// CloseWrite implements Conn.
func (s *Socket) CloseWrite() error {
	s.ended.Store(true)
	return s.stream.CloseWrite()
}

// WriteBuffers writes all of b with as few system calls as the kernel allows.
func (s *Socket) WriteBuffers(b *net.Buffers) (int64, error) {
	return b.WriteTo(s.stream)
}

// Reset closes the socket; over TCP the other end gets an RST.
func (s *Socket) Reset() error {
	if t, ok := s.stream.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	return s.stream.Close()
}

// IsReset tells whether err says that the other end reset its connection or is gone, rather than ended it.
func IsReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Quieter is a connection that can tell whether it is open and has nothing to read.
type Quieter interface {
	Quiet() bool
}

// Quiet tells, without waiting, whether c is open as far as this side knows and has nothing to read. A connection that
// cannot tell counts as quiet.
func Quiet(c net.Conn) bool {
	if q, ok := c.(Quieter); ok {
		return q.Quiet()
	}
	return true
}

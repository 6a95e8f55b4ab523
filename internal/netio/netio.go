// Package netio is what sp asks of sockets beyond net.Conn: waiting for data without holding a
// buffer or a goroutine, reading into and writing from several buffers with one system call,
// joining two connections in the kernel, going out from a port that others go out from, and
// resetting.
//
// It knows nothing of messages, keys or routes. It starts no goroutine that outlives the call that
// started it, but those of Proxy.Start, and one that waits for all sockets that are parked (Parker)
// as long as there are any.
package netio

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is a net.Conn whose write direction can be ended on its own. After CloseWrite the other end
// reads io.EOF.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Room lends a LazyReader the memory to read into.
type Room interface {
	// Acquire returns where the next bytes go, in order. It is called when there may be something
	// to read.
	Acquire() [][]byte
	// Release takes the memory back unused, since there is nothing to read yet.
	Release()
}

// LazyReader is a connection that can wait for data without holding a buffer.
type LazyReader interface {
	// ReadLazy waits for data, then reads once into what room lends. It returns like io.Reader's
	// Read, except that 0 bytes always come with an error. Only one goroutine may read at a time.
	ReadLazy(room Room) (int, error)
}

// ReadLazy reads once from c into what room lends, holding nothing while it waits if c is a
// LazyReader.
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

// Reset closes c so that the other end sees an error and not an end of data, where c can tell the
// two apart.
func Reset(c net.Conn) error {
	if r, ok := c.(Resetter); ok {
		return r.Reset()
	}
	return c.Close()
}

// Socket is a TCP or Unix stream socket with all that this package offers. It is safe for
// concurrent use like any net.Conn, except that ReadLazy has one caller at a time.
type Socket struct {
	stream
	raw      syscall.RawConn
	ended    atomic.Bool   // CloseWrite has been called
	awaiting atomic.Bool   // AwaitReset has been called
	sent     atomic.Uint64 // bytes
	stuck    stuck
	through  net.Addr // in place of the other end's address; nil if that is it
	lazy
	received atomic.Uint64 // bytes
	parking  parking
}

// stream is what *net.TCPConn and *net.UnixConn have in common.
type stream interface {
	Conn
	syscall.Conn
}

var (
	_ LazyReader    = (*Socket)(nil)
	_ BuffersWriter = (*Socket)(nil)
	_ Mover         = (*Socket)(nil)
	_ Resetter      = (*Socket)(nil)
	_ ResetAwaiter  = (*Socket)(nil)
	_ io.ReaderFrom = (*Socket)(nil)
	_ io.WriterTo   = (*Socket)(nil)

	_ stream = (*net.TCPConn)(nil)
	_ stream = (*net.UnixConn)(nil)
)

// Wrap returns c as a *Socket if it is a TCP or a Unix connection, and otherwise c itself if it can
// be half-closed. What has no half-close is not closed in place of it: its CloseWrite fails with
// errors.ErrUnsupported.
func Wrap(c net.Conn) Conn {
	switch c := c.(type) {
	case *net.TCPConn:
		return newSocket(c)
	case *net.UnixConn:
		return newSocket(c)
	case Conn:
		return c
	}
	return noHalfClose{c}
}

func newSocket(s stream) Conn {
	raw, err := s.SyscallConn()
	if err != nil {
		return s
	}
	socket := &Socket{stream: s, raw: raw}
	socket.init()
	return socket
}

// EndWithClose returns a connection that has no half-close with a CloseWrite that closes it: what
// the other side still has to say is lost. It is for whoever knows that this does not matter.
func EndWithClose(c net.Conn) Conn { return endWithClose{c} }

type endWithClose struct{ net.Conn }

func (c endWithClose) CloseWrite() error { return c.Close() }

// noHalfClose is a connection whose directions do not end one by one.
type noHalfClose struct{ net.Conn }

func (noHalfClose) CloseWrite() error {
	return fmt.Errorf("half-close: %w", errors.ErrUnsupported)
}

// LeadsTo says where the connection leads, if that is not the other end of the socket: a proxy is
// there. It is called before anybody else uses the socket.
func (s *Socket) LeadsTo(a net.Addr) { s.through = a }

// RemoteAddr implements net.Conn.
func (s *Socket) RemoteAddr() net.Addr {
	if s.through != nil {
		return s.through
	}
	return s.stream.RemoteAddr()
}

// Read implements net.Conn. Other than a bare socket's, it never takes a reset for an end.
func (s *Socket) Read(p []byte) (int, error) {
	n, err := s.stream.Read(p)
	s.received.Add(uint64(n))
	if err == io.EOF {
		err = s.endOfData()
	}
	return n, err
}

// Write implements net.Conn.
func (s *Socket) Write(p []byte) (int, error) {
	s.noteSent()
	defer s.noteSent()
	n, err := s.stream.Write(p)
	s.sent.Add(uint64(n))
	return n, err
}

// ReadFrom implements io.ReaderFrom, holding no memory while it waits.
func (s *Socket) ReadFrom(src io.Reader) (int64, error) { return copyTo(s, src) }

// WriteTo implements io.WriterTo, holding no memory while it waits.
func (s *Socket) WriteTo(dst io.Writer) (int64, error) { return copyTo(dst, s) }

// CloseWrite implements Conn.
func (s *Socket) CloseWrite() error {
	s.ended.Store(true)
	err := s.stream.CloseWrite()
	s.noteSent()
	if s.awaiting.Load() {
		_ = s.SetReadDeadline(time.Unix(1, 0))
	}
	return err
}

// WriteBuffers writes all of b with as few system calls as the kernel allows.
func (s *Socket) WriteBuffers(b *net.Buffers) (int64, error) {
	s.noteSent()
	defer s.noteSent()
	n, err := b.WriteTo(s.stream)
	if n == 0 && isRefusal(err) {
		n, err = b.WriteTo(struct{ io.Writer }{s.stream}) // one by one
	}
	s.sent.Add(uint64(n))
	return n, err
}

// Reset closes the socket; over TCP the other end gets an RST.
func (s *Socket) Reset() error {
	if t, ok := s.stream.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	return s.Close()
}

// opError dresses what a system call returned as package net does.
func (s *Socket) opError(call string, err error) error {
	return &net.OpError{
		Op: call, Net: s.LocalAddr().Network(), Source: s.LocalAddr(), Addr: s.RemoteAddr(),
		Err: os.NewSyscallError(call, err),
	}
}

// IsReset tells whether err says that the other end reset its connection or is gone, rather than
// ended it.
func IsReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// ResetAwaiter is a connection that can wait for its other end to reset it after that has ended its
// direction.
type ResetAwaiter interface {
	// AwaitReset is called, by the only reader, after the end of data. It returns nil when this
	// side has ended its own direction too, so that there is nothing left to reset, and an error
	// when the connection has failed or been closed before that. There is no reading from the
	// connection afterwards.
	AwaitReset() error
}

// AwaitReset waits, after c has ended its direction, until this side has ended the other one, and
// fails if c is reset before that: nothing tells a reader any more. It returns nil at once if c
// cannot tell.
func AwaitReset(c net.Conn) error {
	if a, ok := c.(ResetAwaiter); ok {
		return a.AwaitReset()
	}
	return nil
}

// Quieter is a connection that can tell whether it is open and has nothing to read.
type Quieter interface {
	Quiet() bool
}

// Quiet tells, without waiting, whether c is open as far as this side knows and has nothing to
// read. A connection that cannot tell counts as quiet.
func Quiet(c net.Conn) bool {
	if q, ok := c.(Quieter); ok {
		return q.Quiet()
	}
	return true
}

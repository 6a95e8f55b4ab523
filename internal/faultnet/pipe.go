package faultnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// pipeBuffer is how much each direction of a pipe holds.
const pipeBuffer = 64 << 10

// Conn is one end of an in-process pair. It behaves as one of two TCP conns on
// Linux's loopback would, errors included:
//
//   - Read returns io.EOF after the peer's CloseWrite or Close, and
//     ECONNRESET after its Reset; what was buffered is read first.
//   - Write blocks while the buffer is full. It fails with EPIPE after the
//     peer's Close or an own CloseWrite, and with ECONNRESET after a reset.
//   - Close with bytes still unread resets the peer, as a kernel does, and so
//     does Close after SetLinger(0).
//   - A deadline that passes gives os.ErrDeadlineExceeded, a closed Conn net.ErrClosed.
//
// Two things are tidier than a kernel: the first write to a peer that has
// closed fails (a kernel takes it and fails the next), and a reset stays
// ECONNRESET however often one asks.
type Conn struct {
	rd, wr      *stream
	local, peer Addr
	abort       atomic.Bool // SetLinger(0): Close resets
}

// Addr is the address of a Conn: its name.
type Addr string

// Network returns "faultnet".
func (Addr) Network() string { return "faultnet" }

// String returns the name.
func (a Addr) String() string { return string(a) }

// Pipe returns a clean pair of conns with a buffer of 64 KiB each way. It
// starts no goroutine.
func Pipe() (a, b *Conn) { return PipeSize(pipeBuffer) }

// PipeSize is Pipe with a buffer of size bytes each way, 1 at least.
func PipeSize(size int) (a, b *Conn) {
	up, down := newStream(size), newStream(size)
	return newConn(down, up, "client", "server"), newConn(up, down, "server", "client")
}

func newConn(rd, wr *stream, local, peer Addr) *Conn {
	return &Conn{rd: rd, wr: wr, local: local, peer: peer}
}

// FaultyPipe returns a pair with a link in the middle. Close the link when done
// (it is enough to close both conns if the plan has no black hole or half-open).
// A config that can not work panics.
func FaultyPipe(cfg Config) (client, server *Conn, link *Link) {
	client, a := Pipe()
	b, server := Pipe()
	return client, server, Join(a, b, cfg)
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.rd.read(p)
	return n, c.opError("read", err)
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.wr.write(p)
	return n, c.opError("write", err)
}

// CloseWrite ends the direction away from this conn: the peer reads EOF after
// what was written.
func (c *Conn) CloseWrite() error { return c.opError("close", c.wr.finish()) }

// Close closes both directions.
func (c *Conn) Close() error {
	c.wr.stopWriter() // or who reads here would wake up first, and could still write
	reset, err := c.rd.closeReader(c.abort.Load())
	if err == nil {
		c.wr.closeWriter(reset)
	}
	return c.opError("close", err)
}

// SetLinger sets what Close does, as that of *net.TCPConn: with 0 it resets.
func (c *Conn) SetLinger(sec int) error {
	c.abort.Store(sec == 0)
	return nil
}

// Reset closes the conn, and the peer gets a connection reset.
func (c *Conn) Reset() error {
	c.SetLinger(0)
	return c.Close()
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.peer }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.opError("set", c.rd.setDeadline(&c.rd.reader, t))
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.opError("set", c.wr.setDeadline(&c.wr.writer, t))
}

// opError dresses err as package net does.
func (c *Conn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "faultnet", Source: c.local, Addr: c.peer, Err: err}
}

package netio

import (
	"io"
	"net"
	"sync"
)

// Join copies between a and b, each way, until both directions have ended, and closes both. An end of data passes as
// CloseWrite; an error in either direction resets both, and so does a reset of one whose direction has ended while the
// other one goes on. It returns the first error, or nil if both directions ended cleanly. Between sockets on Linux the
// bytes stay in the kernel and a direction that waits holds no memory.
func Join(a, b Conn) error {
	return JoinWith(a, b, func(direction func()) { go direction() })
}

// JoinWith is Join with one of the directions run by aside, which returns at once. Both conns are closed by the time the
// direction returns, for whoever runs it may own one of them; JoinWith waits for what it does.
func JoinWith(a, b Conn, aside func(direction func())) error {
	var (
		once  sync.Once
		first error
		wg    sync.WaitGroup
	)
	fail := func(err error) {
		once.Do(func() {
			first = err
			_ = Reset(a)
			_ = Reset(b)
		})
	}
	wg.Add(1)
	over := make(chan struct{})
	defer close(over)
	aside(func() {
		copyDirection(b, a, fail)
		wg.Done()
		<-over
	})
	copyDirection(a, b, fail)
	wg.Wait()
	_ = a.Close()
	_ = b.Close()
	return first
}

// copyDirection ends with src's direction, and then stays to notice if src is reset while the other one goes on.
func copyDirection(dst, src Conn, fail func(error)) {
	_, err := copyTo(dst, src)
	if err == nil {
		err = dst.CloseWrite()
	}
	if err == nil {
		err = AwaitReset(src)
	}
	if err != nil {
		fail(err)
	}
}

// Copy copies from src to dst until src ends, holding no memory while it waits. It returns nil at the end of src.
func Copy(dst, src net.Conn) error {
	_, err := copyTo(dst, src)
	return err
}

// copyTo copies in the kernel between sockets, as the conns themselves know how to where one of them is none, and
// otherwise through pooled memory. It returns the number of bytes written.
func copyTo(dst io.Writer, src io.Reader) (int64, error) {
	to, toSocket := dst.(*Socket)
	from, fromSocket := src.(*Socket)
	if toSocket && fromSocket {
		return splice(to, from)
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
	var room PooledRoom
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
	return dst.Write(room.Filled(n))
}

// PooledRoom is a Room of one pooled buffer, which grows while reads fill it and shrinks again when they do not. The
// zero value is ready. It has one user at a time.
type PooledRoom struct {
	class  Class
	buffer *Buffer
	bufs   [1][]byte
}

// Acquire implements Room.
func (r *PooledRoom) Acquire() [][]byte {
	if r.buffer != nil && r.buffer.class != r.class {
		r.Release()
	}
	if r.buffer == nil {
		r.buffer = GetBuffer(r.class)
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
	r.class = Adapt(r.class, n)
	return r.buffer.Bytes[:n]
}

// Adapt returns the class of buffer to read with next, after a read of n bytes with class c: one up if it was full,
// one down if the next smaller one would have been half empty.
func Adapt(c Class, n int) Class {
	switch {
	case n >= classSize[c]-BufferSlack && c < Huge:
		return c + 1
	case c > Small && n < classSize[c-1]/2:
		return c - 1
	}
	return c
}

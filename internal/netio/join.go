package netio

import (
	"io"
	"net"
	"sync"
)

// Join copies between a and b, each way, until both directions have ended, and closes both. An end of data passes as
// CloseWrite; an error in either direction resets both. It returns the first error, or nil if both directions ended
// cleanly. Between sockets on Linux the bytes stay in the kernel and a direction that waits holds no memory.
func Join(a, b Conn) error {
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
	wg.Go(func() { copyDirection(b, a, fail) })
	copyDirection(a, b, fail)
	wg.Wait()
	_ = a.Close()
	_ = b.Close()
	return first
}

func copyDirection(dst, src Conn, fail func(error)) {
	if err := Copy(dst, src); err != nil {
		fail(err)
		return
	}
	if err := dst.CloseWrite(); err != nil {
		fail(err)
	}
}

// Copy copies from src to dst until src ends, holding no memory while it waits. It returns nil at the end of src.
func Copy(dst, src net.Conn) error {
	if d, ok := dst.(*Socket); ok {
		if s, ok := src.(*Socket); ok {
			if handled, err := splice(d, s); handled {
				return err
			}
		}
	}
	return copyBuffered(dst, src)
}

// copyBuffered copies through pooled memory.
func copyBuffered(dst io.Writer, src io.Reader) error {
	var room PooledRoom
	defer room.Release()
	for {
		n, err := ReadLazy(src, &room)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := dst.Write(room.Filled(n)); err != nil {
			return err
		}
	}
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

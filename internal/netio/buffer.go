package netio

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/secureportal/sp/internal/budget"
)

// Class is a size of Buffer. A copy loop starts at Small and moves up while its reads fill what
// they are given.
type Class uint8

// The classes of buffers, from one that a request fits to one that makes system calls rare.
const (
	Small Class = iota
	Medium
	Large
	Huge

	Classes = iota
)

// BufferSlack is how many bytes a Buffer has beyond the round number of its class, for headers and
// trailers.
const BufferSlack = 512

var classSize = [Classes]int{
	Small:  4<<10 + BufferSlack,
	Medium: 16<<10 + BufferSlack,
	Large:  64<<10 + BufferSlack,
	Huge:   512<<10 + BufferSlack,
}

// Size returns how many bytes a buffer of class c has.
func (c Class) Size() int { return classSize[c] }

// pools are the buffers that nobody has. Of the largest class they are those that are read into:
// each processor takes the ones that it has given back itself. cold are the others of that class:
// see GetToKeep.
var (
	pools [Classes]sync.Pool
	cold  stack
)

// Buffer is a piece of pooled memory. It belongs to whoever got it until Free.
type Buffer struct {
	Bytes  []byte // the whole of it, always Size long
	class  Class
	cold   bool    // see GetToKeep
	charge *charge // nil for a small one
}

// charge is what a buffer takes from the process's budget. It outlives the buffer: where a
// connection ends while somebody may still look at what it holds, its buffer is left to the
// collector of garbage.
type charge struct {
	size int64
	held atomic.Bool
}

func (c *charge) take() {
	c.held.Store(true)
	budget.Process.Take(c.size)
}

func (c *charge) give() {
	if c.held.Swap(false) {
		budget.Process.Give(c.size)
	}
}

func newBuffer(c Class) *Buffer {
	b := &Buffer{Bytes: make([]byte, classSize[c]), class: c}
	if c > Small {
		b.charge = &charge{size: int64(classSize[c])}
		runtime.AddCleanup(b, (*charge).give, b.charge)
	}
	return b
}

// GetBuffer returns a buffer of class c with undefined contents. Until Free it counts as taken from
// the process's budget, which has no say here: see ClassTo.
func GetBuffer(c Class) *Buffer {
	b, _ := pools[c].Get().(*Buffer)
	if b == nil && c == Huge {
		b = cold.get()
	}
	return lend(b, c, false)
}

// GetToKeep is GetBuffer for what is kept for a while once it has been written, so that nothing of
// the buffer is in the processor's caches when it is given back. The large ones are apart from
// those that are read into: else these would be kept in their turn, and be read into again when
// they are as cold.
func GetToKeep(c Class) *Buffer {
	if c != Huge {
		return GetBuffer(c)
	}
	return lend(cold.get(), c, true)
}

// lend returns b, or a new buffer if that is nil, to whoever has asked for one.
func lend(b *Buffer, c Class, isCold bool) *Buffer {
	if b == nil {
		b = newBuffer(c)
	}
	b.cold = isCold
	if b.charge != nil {
		b.charge.take()
	}
	return b
}

// Free gives b back; its memory must not be used afterwards. Freeing nil does nothing.
func (b *Buffer) Free() {
	if b == nil {
		return
	}
	if b.charge != nil {
		b.charge.give()
	}
	if b.class == Huge && (b.cold || !budget.Process.Plenty()) { // which the pool does not ask
		cold.put(b)
	} else {
		pools[b.class].Put(b)
	}
}

// Uncharge has b not count as taken from the process's budget any more: whoever has it counts it in
// another way.
func (b *Buffer) Uncharge() {
	if b.charge != nil {
		b.charge.give()
	}
}

// Class returns b's class.
func (b *Buffer) Class() Class { return b.class }

// ClassFor returns the smallest class whose buffers hold n bytes, or Huge.
func ClassFor(n int) Class {
	for c := Small; c < Huge; c++ {
		if n <= classSize[c] {
			return c
		}
	}
	return Huge
}

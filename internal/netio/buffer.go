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

// pools are the buffers that nobody has, of all classes but the largest, and huge those.
var (
	pools [Huge]sync.Pool
	huge  stack
)

// Buffer is a piece of pooled memory. It belongs to whoever got it until Free.
type Buffer struct {
	Bytes  []byte // the whole of it, always Size long
	class  Class
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
	var b *Buffer
	if c == Huge {
		b = huge.get()
	} else {
		b, _ = pools[c].Get().(*Buffer)
	}
	if b == nil {
		b = newBuffer(c)
	}
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
	if b.class == Huge {
		huge.put(b)
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

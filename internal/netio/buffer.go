package netio

import "sync"

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

var pools [Classes]sync.Pool

// Buffer is a piece of pooled memory. It belongs to whoever got it until Free.
type Buffer struct {
	Bytes []byte // the whole of it, always Size long
	class Class
}

// GetBuffer returns a buffer of class c with undefined contents.
func GetBuffer(c Class) *Buffer {
	if b, ok := pools[c].Get().(*Buffer); ok {
		return b
	}
	return &Buffer{Bytes: make([]byte, classSize[c]), class: c}
}

// Free gives b back; its memory must not be used afterwards. Freeing nil does nothing.
func (b *Buffer) Free() {
	if b != nil {
		pools[b.class].Put(b)
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

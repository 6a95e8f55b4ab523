//go:build !unix

package netio

import "io"

// lazy has no state where the operating system tells of finished reads rather than of ready
// sockets.
type lazy struct{}

func (s *Socket) init() {}

// ReadLazy implements LazyReader. On this system it holds the buffer while it waits.
func (s *Socket) ReadLazy(room Room) (int, error) {
	return s.Read(room.Acquire()[0])
}

// endOfData is the end that it seems to be: this system tells a reset to each call.
func (s *Socket) endOfData() error { return io.EOF }

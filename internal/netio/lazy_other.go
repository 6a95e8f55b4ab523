//go:build !unix

package netio

// lazy has no state where the operating system tells of finished reads rather than of ready sockets.
type lazy struct{}

func (s *Socket) init() {}

// ReadLazy implements LazyReader. On this system it holds the buffer while it waits.
func (s *Socket) ReadLazy(room Room) (int, error) {
	return s.Read(room.Acquire()[0])
}

package netio

import (
	"net"
	"time"
)

// Idler is a connection that can tell for how long nothing has been sent or received on it.
type Idler interface {
	// Idle reports false where that is not known: of anything but TCP, and on other systems than
	// Linux.
	Idle() (since time.Duration, known bool)
}

// Idle returns for how long nothing has been sent or received on c, and false where c cannot tell.
func Idle(c net.Conn) (since time.Duration, known bool) {
	if i, ok := c.(Idler); ok {
		return i.Idle()
	}
	return 0, false
}

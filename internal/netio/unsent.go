package netio

import "math"

// Unsenter is a connection that can tell how much of what has been written to it waits here to be
// sent.
type Unsenter interface {
	// Unsent returns so many bytes.
	Unsent() int
}

// UnsentForNow is what a connection says that sends nothing just now.
const UnsentForNow = math.MaxInt

// Unsent returns how many bytes that were written to c have not been sent: the other end, or the
// network, takes less. Whoever has something newer may rather wait. It is 0 where c cannot tell.
func Unsent(c any) int {
	if u, ok := c.(Unsenter); ok {
		return u.Unsent()
	}
	return 0
}

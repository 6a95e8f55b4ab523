package netio

// socketOwner is what may be a connection of the system's with nothing else on it.
type socketOwner interface{ OwnsSocket() bool }

// OwnsSocket tells whether c is a TCP or a Unix connection, and nothing else is on that: what is on
// its way, and how long nothing has been, is c's alone.
func OwnsSocket(c any) bool {
	o, ok := c.(socketOwner)
	return ok && o.OwnsSocket()
}

// OwnsSocket implements OwnsSocket.
func (s *Socket) OwnsSocket() bool { return true }

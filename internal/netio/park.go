package netio

import "time"

// Parker is a connection for which nobody has to wait: a goroutine costs some KiB, and one that has
// once gone deep keeps its large stack for as long as it waits.
type Parker interface {
	// Park has ready called, once, on a goroutine of its own, when a read may have something to
	// say: bytes, an end, an error, or that a deadline has passed. It may be called for nothing. It
	// reports false, and calls nothing, if it cannot. Nobody reads meanwhile.
	Park(ready func()) bool
}

// Park is c's, if it is a Parker.
func Park(c any, ready func()) bool {
	p, ok := c.(Parker)
	return ok && p.Park(ready)
}

// Glancer is a Parker where who waits for all that is parked may glance at what comes: often that
// is little, and a goroutine of its own would cost more than it does.
type Glancer interface {
	// ParkAndGlance is Park, but has glance called when something has come, by who waits for all
	// that is parked. It must not wait for anything, nor take long: it reads with ReadNow and
	// writes with WriteNow. If it returns true the connection stays parked, and otherwise ready is
	// called: likewise where there is an end or an error, and where more comes soon after.
	ParkAndGlance(glance func() bool, ready func()) bool
}

// ParkAndGlance is c's, if it is a Glancer, and otherwise Park.
func ParkAndGlance(c any, glance func() bool, ready func()) bool {
	if g, ok := c.(Glancer); ok {
		return g.ParkAndGlance(glance, ready)
	}
	return Park(c, ready)
}

// Close implements net.Conn.
func (s *Socket) Close() error {
	err := s.stream.Close()
	s.parking.leave()
	return err
}

// SetDeadline implements net.Conn.
func (s *Socket) SetDeadline(t time.Time) error {
	err := s.stream.SetDeadline(t)
	s.parking.limit(t)
	return err
}

// SetReadDeadline implements net.Conn.
func (s *Socket) SetReadDeadline(t time.Time) error {
	err := s.stream.SetReadDeadline(t)
	s.parking.limit(t)
	return err
}

package netio

import (
	"errors"
	"net"
	"time"
)

// lastWords is how long one direction of a Proxy may take to deliver what its source has said when
// the other one has failed, and how long what has been written may take to arrive before a reset.
const lastWords = 3 * time.Second

// destinationError is an error of where a copy went, and not of where it came from.
type destinationError struct{ error }

func (e destinationError) Unwrap() error { return e.error }

// ToDestination marks err as one of a copy's destination. What copies on its own, an io.ReaderFrom
// or an io.WriterTo, marks its errors so for a Proxy, which then still reads out what that
// destination has said. Nil stays nil.
//
//go:noinline
func ToDestination(err error) error {
	if err == nil || isOfDestination(err) {
		return err
	}
	return destinationError{err}
}

func isOfDestination(err error) bool {
	var marked destinationError
	return errors.As(err, &marked)
}

func withoutMark(err error) error {
	if marked, ok := err.(destinationError); ok {
		return marked.error
	}
	return err
}

// DeliveredResetter is a Resetter that can wait until what has been written to it has arrived.
type DeliveredResetter interface {
	// ResetDelivered is Reset as soon as the other end has what has been written, or when wait
	// has passed. It is called when nobody writes any more.
	ResetDelivered(wait time.Duration)
}

// ResetDelivered is Reset of c when what has been written has arrived, after wait at the latest. A
// reset of its own overtakes what is on the way. A conn that cannot tell is reset at once.
func ResetDelivered(c net.Conn, wait time.Duration) {
	if r, ok := c.(DeliveredResetter); ok {
		r.ResetDelivered(wait)
		return
	}
	_ = Reset(c)
}

// The pauses between two looks whether what has been written has arrived: nothing tells.
const (
	deliveryLook    = time.Millisecond
	deliveryLookMax = 100 * time.Millisecond
)

// ResetDelivered implements DeliveredResetter. What has been written to a Unix socket has arrived.
func (s *Socket) ResetDelivered(wait time.Duration) {
	pause := deliveryLook
	for until := time.Now().Add(wait); s.unsent() > 0 && time.Now().Before(until); {
		time.Sleep(pause)
		pause = min(2*pause, deliveryLookMax)
	}
	_ = s.Reset()
}

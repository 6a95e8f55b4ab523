//go:build linux

package forward

import (
	"io"
	"net"
	"time"
)

const (
	delayChunk = 16 << 10              // what is read, and delayed, as one
	coarse     = 2 * time.Millisecond  // sleeps are not for less
	allowance  = 10 * time.Millisecond // of the line that a late sleeper may catch up on
)

// A chunk is bytes on their way.
type chunk struct {
	data []byte
	due  time.Time
}

// delayed is a long line: it passes so many bits a second, and each arrives delay
// later. It reads no faster than that, and holds no more than is on its way. TCP ends
// at it, so it shows the windows of what runs inside, not TCP's.
func delayed(bits int64, delay time.Duration) direction {
	inFlight := int(float64(bits)/8*delay.Seconds())/delayChunk + 1
	return func(dst, src *net.TCPConn) error {
		line := make(chan chunk, inFlight)
		free := make(chan []byte, inFlight+2)
		written := make(chan error, 1)
		go func() { written <- arrive(dst, line, free) }()
		err := depart(src, line, free, bits, delay)
		close(line)
		if err := <-written; err != nil {
			return err
		}
		return err
	}
}

// depart reads at the speed of the line.
func depart(
	src *net.TCPConn, line chan<- chunk, free <-chan []byte, bits int64, delay time.Duration,
) error {
	next := time.Now() // when the line can take more
	for {
		if wait := time.Until(next); wait > coarse {
			time.Sleep(wait)
		}
		var buf []byte
		select {
		case buf = <-free:
		default:
			buf = make([]byte, delayChunk)
		}
		n, err := src.Read(buf)
		if earliest := time.Now().Add(-allowance); next.Before(earliest) {
			next = earliest
		}
		next = next.Add(time.Duration(float64(n) * 8 / float64(bits) * float64(time.Second)))
		if n > 0 {
			line <- chunk{buf[:n], next.Add(delay)}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// arrive writes what is due. After an error it only empties the line.
func arrive(dst *net.TCPConn, line <-chan chunk, free chan<- []byte) error {
	var err error
	for c := range line {
		if err != nil {
			continue
		}
		time.Sleep(time.Until(c.due))
		_, err = dst.Write(c.data)
		select {
		case free <- c.data[:delayChunk]:
		default:
		}
	}
	return err
}

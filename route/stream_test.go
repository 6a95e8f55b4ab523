package route

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
)

// endedConn takes one write. During that it lets others begin, and by the next one its direction
// has ended.
type endedConn struct {
	net.Conn
	during func()
	writes int
}

func (c *endedConn) Write(p []byte) (int, error) {
	if c.writes++; c.writes > 1 {
		return 0, errors.New("write after the end")
	}
	c.during()
	return len(p), nil
}

func (c *endedConn) CloseWrite() error { return nil }

// TestFlushWhileAnotherFlushes has a reader, which first sends the opening message if nobody has,
// come while the writer does that. The writer may have ended its direction by the time the reader
// gets to write: there must be nothing that it still wants to. It used to write nothing, which was
// an error then, and lost the whole connection.
func TestFlushWhileAnotherFlushes(t *testing.T) {
	for range 1000 {
		var readers sync.WaitGroup
		conn := new(endedConn)
		s := opened(conn, new(answerer), []byte("opening"))
		conn.during = func() {
			readers.Go(func() {
				if err := s.Flush(); err != nil {
					t.Error(err)
				}
			})
			runtime.Gosched() // as far as the lock
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		readers.Wait()
		if t.Failed() {
			return
		}
	}
}

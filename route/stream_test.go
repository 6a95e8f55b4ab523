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

// sinkConn remembers where the last write's memory was.
type sinkConn struct {
	net.Conn
	last *byte
	n    int
}

func (c *sinkConn) Write(p []byte) (int, error) {
	c.last, c.n = &p[0], len(p)
	return len(p), nil
}

func (c *sinkConn) CloseWrite() error { return nil }

// What is said before the far end has answered goes out from where it is: only the first of it is
// copied, behind the opening message.
func TestStreamDoesNotCopy(t *testing.T) {
	conn := new(sinkConn)
	s := opened(conn, new(answerer), []byte("opening"))
	again := new(again)
	again.possible.Store(true)
	s.again.Store(again)
	p := make([]byte, 1000)
	for i, want := range []int{len("opening") + len(p), len(p)} {
		if n, err := s.Write(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
		if conn.n != want || i > 0 && conn.last != &p[0] {
			t.Errorf("write %d: %d bytes, want %d, or a copy of them", i, conn.n, want)
		}
	}
}

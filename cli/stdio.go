package cli

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// stdio is stdin and stdout as one connection. Closing it ends reads at once, although nothing
// can end a read of a terminal: the goroutine that reads stdin lives until the process ends.
type stdio struct {
	out    io.Writer
	chunks chan chunk
	left   []byte
	err    error

	once   sync.Once
	closed chan struct{}
}

// chunk is what one read of stdin gave.
type chunk struct {
	data []byte
	err  error
}

const stdioBuffer = 64 << 10

func newStdio(in io.Reader, out io.Writer) *stdio {
	s := &stdio{out: out, chunks: make(chan chunk), closed: make(chan struct{})}
	go s.pump(in)
	return s
}

// stdio is the process's stdin and stdout.
func (c *call) stdio() net.Conn { return newStdio(c.stdin.r, c.process.out.w) }

// takeStdio has stdin be for a connection, and nothing else.
func (c *call) takeStdio() error {
	_, err := c.stdin.take("connection")
	return err
}

func (s *stdio) pump(in io.Reader) {
	for {
		b := make([]byte, stdioBuffer)
		n, err := in.Read(b)
		select {
		case s.chunks <- chunk{b[:n], err}:
		case <-s.closed:
			return
		}
		if err != nil {
			return
		}
	}
}

// Read implements net.Conn for one reader.
func (s *stdio) Read(p []byte) (int, error) {
	for len(s.left) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		select {
		case c := <-s.chunks:
			s.left, s.err = c.data, c.err
		case <-s.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

// Write implements net.Conn.
func (s *stdio) Write(p []byte) (int, error) {
	n, err := s.out.Write(p)
	if err != nil {
		err = &outputError{err: err}
	}
	return n, err
}

// CloseWrite passes on the end. Where stdin and stdout are one socket, as inetd has it, that takes
// more than closing one of the two.
func (s *stdio) CloseWrite() error {
	if c, ok := s.out.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// Close ends reads and closes stdout.
func (s *stdio) Close() error {
	s.once.Do(func() { close(s.closed) })
	if c, ok := s.out.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Reset is Close for a connection that was not carried to its end, which a socket can tell.
func (s *stdio) Reset() error {
	r, ok := s.out.(netio.Resetter)
	if !ok {
		return s.Close()
	}
	s.once.Do(func() { close(s.closed) })
	return r.Reset()
}

// LocalAddr implements net.Conn.
func (s *stdio) LocalAddr() net.Addr { return stdioAddr{} }

// RemoteAddr implements net.Conn.
func (s *stdio) RemoteAddr() net.Addr { return stdioAddr{} }

// SetDeadline implements net.Conn; there are none.
func (s *stdio) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn; there are none.
func (s *stdio) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn; there are none.
func (s *stdio) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

type stdioAddr struct{}

func (stdioAddr) Network() string { return "stdio" }
func (stdioAddr) String() string  { return fromStdin }

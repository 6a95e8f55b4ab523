package bluetooth

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/secureportal/sp/internal/netio"
)

// lingerPoll is how often somebody looks whether all has been sent. It is only at a channel's end,
// and nothing tells of it.
const lingerPoll = 5 * time.Millisecond

// Conn is a channel as two streams of bytes. One goroutine may read and one write at a time; the
// rest may be called by anybody. It has no half-close.
type Conn struct {
	file          *os.File
	raw           syscall.RawConn
	most          int // bytes of a packet that is sent
	local, remote At
	unsent        func(fd int) int // bytes that have not been sent; nil if nobody can tell

	closing atomic.Bool
	heard   atomic.Int64 // when something last came, in nanoseconds since began
	began   time.Time

	sent uint32 // packets; owned by who writes

	// What follows is owned by who reads.
	received uint32
	buffer   *netio.Buffer // nil if nothing is left of a packet
	left     []byte        // of a packet, in buffer
	ended    error         // how the channel has: there may be something to read all the same
	size     int           // of a packet that has been read
	err      error         // why none was
}

var _ netio.LazyReader = (*Conn)(nil)

// newConn returns a channel of a socket that does not block, which it owns. most is how many bytes
// of a packet the other side takes.
func newConn(fd, most int, local, remote At) (*Conn, error) {
	if most = min(most, MaxPacket); most <= NumberSize {
		_ = unix.Close(fd)
		return nil, errShort
	}
	return wrap(os.NewFile(uintptr(fd), remote.Network()), most, local, remote)
}

// wrap is newConn for a file.
func wrap(file *os.File, most int, local, remote At) (*Conn, error) {
	c := &Conn{file: file, most: most, local: local, remote: remote, began: time.Now()}
	var err error
	if c.raw, err = file.SyscallConn(); err != nil {
		_ = file.Close()
		return nil, err
	}
	return c, nil
}

// tryRead reads a packet without waiting. It reports false when there is none yet.
func (c *Conn) tryRead(fd uintptr) bool {
	c.buffer = netio.GetBuffer(netio.Medium)
	for {
		n, err := unix.Read(int(fd), c.buffer.Bytes[:MaxPacket+1])
		switch {
		case err == unix.EINTR:
			continue
		case n > 0:
			c.size, c.err = n, nil
			return true
		case c.ended != nil:
			c.err = c.ended
		case err == unix.EAGAIN:
			c.drop()
			return false
		case err != nil:
			c.ended = err
			continue // the kernel tells of the end before it gives what came before that
		default:
			c.ended = io.EOF
			continue
		}
		return true
	}
}

func (c *Conn) drop() {
	c.buffer.Free()
	c.buffer, c.left = nil, nil
}

// fill waits for a packet, unless something is left of one.
func (c *Conn) fill() error {
	if len(c.left) > 0 {
		return nil
	}
	if c.closing.Load() {
		return net.ErrClosed
	}
	err := c.raw.Read(c.tryRead)
	if err == nil {
		err = c.err
	}
	if err == nil {
		c.left, err = payload(c.buffer.Bytes[:c.size], c.received)
	}
	if err != nil {
		c.drop()
		return inWords(err)
	}
	c.received++
	c.heard.Store(int64(time.Since(c.began)))
	return nil
}

// take copies what is left of a packet.
func (c *Conn) take(p []byte) int {
	n := copy(p, c.left)
	if c.left = c.left[n:]; len(c.left) == 0 {
		c.drop()
	}
	return n
}

// Read implements io.Reader. Where packets end means nothing.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := c.fill(); err != nil {
		return 0, err
	}
	return c.take(p), nil
}

// ReadLazy implements netio.LazyReader.
func (c *Conn) ReadLazy(room netio.Room) (int, error) {
	if err := c.fill(); err != nil {
		return 0, err
	}
	return c.take(room.Acquire()[0]), nil
}

// Write implements io.Writer: in as many packets as it takes.
func (c *Conn) Write(p []byte) (total int, err error) {
	buffer := netio.GetBuffer(netio.Medium)
	defer buffer.Free()
	for len(p) > 0 {
		binary.BigEndian.PutUint32(buffer.Bytes, c.sent)
		n := copy(buffer.Bytes[NumberSize:c.most], p)
		if _, err := c.file.Write(buffer.Bytes[:NumberSize+n]); err != nil {
			return total, inWords(err)
		}
		c.sent++
		total += n
		p = p[n:]
	}
	return total, nil
}

// QuietFor returns for how long nothing has come.
func (c *Conn) QuietFor() time.Duration {
	return time.Since(c.began) - time.Duration(c.heard.Load())
}

// SetWriteDeadline has writes fail that are not done by t. Zero is never.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.file.SetWriteDeadline(t) }

// SetDeadline is the same for reading as well.
func (c *Conn) SetDeadline(t time.Time) error { return c.file.SetDeadline(t) }

// LocalAddr returns an At.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns an At.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// TakesMore implements netio.MoreTaker.
func (c *Conn) TakesMore() bool {
	takes := false
	err := c.raw.Control(func(fd uintptr) {
		takes = ready(int(fd), unix.POLLOUT) == unix.POLLOUT
	})
	return err == nil && takes
}

// ready returns what poll says of a socket, without waiting.
func ready(fd int, events int16) int16 {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	if _, err := unix.Poll(fds, 0); err != nil {
		return 0
	}
	return fds[0].Revents
}

// Close has reading and writing end. Whoever reads calls Linger then, and nobody else does.
func (c *Conn) Close() error {
	if c.closing.Swap(true) {
		return nil
	}
	return c.file.SetDeadline(time.Unix(1, 0))
}

// Linger closes the channel once what has been written has been sent, or has had time to.
func (c *Conn) Linger() {
	_ = c.Close()
	if c.buffer != nil {
		c.drop()
	}
	for by := time.Now().Add(lingerTimeout); c.Unsent() > 0 && time.Now().Before(by); {
		time.Sleep(lingerPoll)
	}
	_ = c.file.Close()
}

// Unsent implements netio.Unsenter.
func (c *Conn) Unsent() (n int) {
	if c.unsent == nil {
		return 0
	}
	_ = c.raw.Control(func(fd uintptr) { n = c.unsent(int(fd)) })
	return n
}

// Reset closes the channel at once.
func (c *Conn) Reset() error {
	_ = c.Close()
	return c.file.Close()
}

// inWords returns an error without the words of the file that the socket is for Go.
func inWords(err error) error {
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	if errors.Is(err, os.ErrClosed) {
		return net.ErrClosed
	}
	return err
}

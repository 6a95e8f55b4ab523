package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/mux"
)

const (
	// maxMessage is the most bytes of one WebSocket message. Where messages end means nothing.
	maxMessage = 256 << 10

	// lingerTimeout is for the other side to end a carrier after this one has: closing a socket that
	// has unread data could take back what was said last.
	lingerTimeout = time.Second
)

// bearer is the connection that a WebSocket is on. It is ended in a way in which what has been
// written arrives, though both directions end at once, and what is written between hold and release
// goes out together.
type bearer struct {
	Link

	closing atomic.Bool
	heard   atomic.Int64 // when something last came, in nanoseconds since began
	began   time.Time
	reading sync.Mutex // held while somebody reads

	mu    sync.Mutex // held while somebody writes, and guards what follows
	holds bool
	held  *netio.Buffer
	size  int // bytes in held
}

func newBearer(on Link) *bearer { return &bearer{Link: on, began: time.Now()} }

// Read implements net.Conn.
func (b *bearer) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.closing.Load() {
		return 0, net.ErrClosed
	}
	n, err := b.Link.Read(p)
	if n > 0 {
		b.heard.Store(int64(time.Since(b.began)))
	}
	return n, err
}

// quietFor returns for how long nothing has come.
func (b *bearer) quietFor() time.Duration {
	return time.Since(b.began) - time.Duration(b.heard.Load())
}

// Write implements net.Conn.
func (b *bearer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.holds {
		return b.Link.Write(p)
	}
	if b.held == nil {
		b.held = netio.GetBuffer(netio.Large)
	}
	for rest := p; len(rest) > 0; {
		n := copy(b.held.Bytes[b.size:], rest)
		b.size += n
		rest = rest[n:]
		if b.size == len(b.held.Bytes) {
			if err := b.flushLocked(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (b *bearer) flushLocked() error {
	_, err := b.Link.Write(b.held.Bytes[:b.size])
	b.size = 0
	return err
}

// hold has what is written wait for release.
func (b *bearer) hold() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holds = true
}

// release writes what is held.
func (b *bearer) release() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holds = false
	if b.held == nil {
		return nil
	}
	err := b.flushLocked()
	b.held.Free()
	b.held = nil
	return err
}

// Close ends both directions. Whoever reads calls linger then.
func (b *bearer) Close() error {
	if b.closing.Swap(true) {
		return nil
	}
	_ = b.SetWriteDeadline(time.Now().Add(lingerTimeout))
	err := b.CloseWrite()
	_ = b.SetReadDeadline(time.Unix(1, 0))
	return err
}

// linger closes the connection, once the other side has ended it as well, or has had time to.
func (b *bearer) linger() {
	_ = b.Close()
	b.reading.Lock()
	defer b.reading.Unlock()
	_ = b.SetReadDeadline(time.Now().Add(lingerTimeout))
	_, _ = io.Copy(io.Discard, b.Link)
	_ = b.Link.Close()
}

// Reset implements netio.Resetter.
func (b *bearer) Reset() error { return netio.Reset(b.Link) }

// Stuck tells netio whether what is sent arrives.
func (b *bearer) Stuck() (times int, sending bool) { return netio.Stuck(b.Link) }

// Unsent tells netio how much of what has been written waits here.
func (b *bearer) Unsent() int { return netio.Unsent(b.Link) }

// NoteSends has netio told when something is sent.
func (b *bearer) NoteSends(n *netio.Note) { netio.NoteSends(b.Link, n) }

// carrier is a WebSocket as package mux wants it.
type carrier struct {
	ws      *websocket.Conn
	on      *bearer
	message io.Reader // what is left of one; owned by who reads
}

var (
	_ mux.Carrier      = (*carrier)(nil)
	_ netio.LazyReader = (*carrier)(nil)
)

func newCarrier(ws *websocket.Conn, on *bearer) *carrier {
	ws.SetReadLimit(maxMessage)
	return &carrier{ws: ws, on: on}
}

var errText = errors.New("a WebSocket message of text has come")

// next waits for a message that has something left to read.
func (c *carrier) next() error {
	if c.message != nil {
		return nil
	}
	kind, message, err := c.ws.Reader(context.Background())
	switch {
	case err == nil && kind != websocket.MessageBinary:
		return errText
	case err == nil:
		c.message = message
		return nil
	}
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway:
		return io.EOF
	}
	return err
}

// Read implements io.Reader.
func (c *carrier) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if err := c.next(); err != nil {
			return 0, err
		}
		n, err := c.message.Read(p)
		if err != nil {
			c.message = nil
		}
		if n > 0 || err != nil && err != io.EOF {
			return n, noEnd(err)
		}
	}
}

// noEnd is err, unless that is the end of a message.
func noEnd(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// ReadLazy implements netio.LazyReader: between messages it holds nothing.
func (c *carrier) ReadLazy(room netio.Room) (int, error) {
	for {
		if err := c.next(); err != nil {
			return 0, err
		}
		n, err := c.message.Read(room.Acquire()[0])
		if err != nil {
			c.message = nil
		}
		if n > 0 {
			return n, nil // what else is wrong the next one is told
		}
		room.Release()
		if err = noEnd(err); err != nil {
			return 0, err
		}
	}
}

// Write implements io.Writer.
func (c *carrier) Write(p []byte) (total int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), maxMessage)]
		c.on.hold()
		err = c.ws.Write(context.Background(), websocket.MessageBinary, part)
		if failed := c.on.release(); err == nil {
			err = failed
		}
		if err == nil {
			total += len(part)
			p = p[len(part):]
		}
	}
	return total, err
}

// Close implements mux.Carrier.
func (c *carrier) Close() error { return c.on.Close() }

// SetWriteDeadline implements mux.Carrier.
func (c *carrier) SetWriteDeadline(t time.Time) error { return c.on.SetWriteDeadline(t) }

// Unsent tells netio how much of what has been written waits here.
func (c *carrier) Unsent() int { return c.on.Unsent() }

// TakesMore tells netio whether a few bytes would be taken at once.
func (c *carrier) TakesMore() bool { return netio.TakesMore(c.on.Link) }

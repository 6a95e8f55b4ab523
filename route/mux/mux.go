// Package mux puts many links on one carrier: a conn that need not be able to half-close. It wraps
// yamux, and bounds what the other side may have this one keep. It knows no route and no relay.
package mux

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/internal/netio"
)

// Limits of many links in one.
const (
	// muxWindow is how many bytes may wait in one link for a reader that does not read. It is twice what a line of
	// 1 Gbit/s and 100 ms holds, as yamux gives a window back by halves.
	window       = 32 << 20
	backlog      = 256         // links that have not been taken
	writeTimeout = time.Minute // for bytes to be taken by the link below
	closeTimeout = time.Second // for the reader of the link below to notice that it is closed
)

// What the other side of a mux may have this one keep. yamux has no limits for these.
const (
	MaxUnended   = 1024             // links that a relay has closed and the outlet has not
	unendedFor   = 10 * time.Second // since they were closed, at least
	untakenAfter = time.Minute      // for which links wait to be taken, and none is
)

// muxConfig is yamux's. Pings are the session's affair, not the mux's. A half-closed link stays for as long as its ends
// like: StreamCloseTimeout would cut it, and its reader would see a clean end.
func config() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.MaxStreamWindowSize = window
	c.AcceptBacklog = backlog
	c.StreamCloseTimeout = 0
	c.StreamOpenTimeout = 0
	c.ConnectionWriteTimeout = writeTimeout
	c.LogOutput = io.Discard
	return c
}

// mux is many links in one, and what keeps the other side from having too much kept here.
type Mux struct {
	*yamux.Session
	conn    *carrier          // the link below
	run     func(func()) bool // has something run by the node that conn ends with, which waits for it
	most    int32             // links that the other side may leave open, or the mux ends; 0 is any number
	unended atomic.Int32      // that it does

	opening, opened atomic.Int64 // how many wait to be taken, and how many have been

	reason atomic.Pointer[error] // why this side has ended it, if for something that the other side did
}

// What ends a mux.
var (
	errPings   = errors.New("the other side has sent too many pings in the mux")
	errUnended = errors.New("the other side has left open too many links of the mux that are closed here")
	errUntaken = errors.New("the other side has taken no link of the mux for a while")
	errUnread  = errors.New("the other side has not read what it is told about links of the mux")
)

// newClient makes a mux of carrier for the side that opens links. The other side may leave most
// links open that are closed here, or the mux ends; 0 is any number. run runs a function on a
// goroutine that the owner of carrier waits for, or reports false if that is closed.
func NewClient(carrier netio.Conn, run func(func()) bool, most int32) (*Mux, error) {
	return newMux(yamux.Client, carrier, run, most)
}

// newServer is newClient for the side that accepts links, and lets the other side leave open as many as
// it likes.
func NewServer(carrier netio.Conn, run func(func()) bool) (*Mux, error) {
	return newMux(yamux.Server, carrier, run, 0)
}

type maker func(io.ReadWriteCloser, *yamux.Config) (*yamux.Session, error)

func newMux(make maker, conn netio.Conn, run func(func()) bool, most int32) (*Mux, error) {
	m := &Mux{conn: &carrier{Conn: conn}, run: run, most: most}
	s, err := make(&pingLimit{Conn: m.conn, exceeded: func() { m.blame(errPings) }}, config())
	if err != nil {
		return nil, err
	}
	m.Session = s
	return m, nil
}

// muxConn is the link below a mux. When this side has finished, what yamux has left to say is not sent: it would fail, and
// so would what is still read.
type carrier struct {
	netio.Conn
	mu       sync.Mutex
	finished bool
}

// Write implements net.Conn.
func (c *carrier) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// finish ends this side's direction of the mux behind all that has been written on its links. The other side reads that,
// and ends the mux.
func (m *Mux) Finish() error {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	m.conn.finished = true
	return m.conn.CloseWrite()
}

func (m *Mux) blame(reason error) { m.reason.CompareAndSwap(nil, &reason) }

// end is Close for what the other side did, which Err tells from then on.
func (m *Mux) end(reason error) {
	m.blame(reason)
	_ = m.Close()
}

// Err returns what the other side did for this side to end the mux, or nil.
func (m *Mux) Err() error {
	if reason := m.reason.Load(); reason != nil {
		return *reason
	}
	return nil
}

// Close ends the mux by ending the link below, whose reader then does the rest at once. Whoever reads from a link of a
// yamux that is closed from elsewhere goes round in circles until that reader has had its turn.
func (m *Mux) Close() error {
	_ = m.conn.Close()
	select {
	case <-m.CloseChan():
	case <-time.After(closeTimeout):
	}
	return m.Session.Close()
}

// accept returns the next link that the other side has opened.
func (m *Mux) Accept() (*Link, error) {
	s, err := m.AcceptStream()
	if err != nil {
		return nil, err
	}
	return m.link(s), nil
}

func (m *Mux) link(s *yamux.Stream) *Link { return &Link{Stream: s, mux: m} }

// open opens a link.
func (m *Mux) Open() (*Link, error) {
	m.opening.Add(1)
	defer m.opening.Add(-1)
	s, err := m.OpenStream()
	if err != nil {
		return nil, err
	}
	m.opened.Add(1)
	return m.link(s), nil
}

// watch ends a mux whose other side takes none of the links that wait for it. It returns when the mux has ended.
func (m *Mux) Watch() {
	look := time.NewTicker(untakenAfter)
	defer look.Stop()
	waited, before := false, int64(0)
	for {
		select {
		case <-m.CloseChan():
			return
		case <-look.C:
		}
		waits, opened := m.opening.Load() > 0, m.opened.Load()
		if waits && waited && opened == before {
			m.end(errUntaken)
			return
		}
		waited, before = waits, opened
	}
}

// drain throws away what comes on a closed link until the other side ends it. Somebody who never does may be an
// application behind it that has nothing to say, or one who has many and means harm.
func (m *Mux) drain(l *Link) {
	l.reading.Lock() // whoever reads has been told to stop, and nobody begins any more
	_ = l.SetReadDeadline(time.Now().Add(unendedFor))
	l.reading.Unlock()
	if !m.discard(l) {
		return
	}
	defer m.unended.Add(-1)
	if m.unended.Add(1) > m.most && m.most > 0 {
		m.end(errUnended)
		return
	}
	_ = l.SetReadDeadline(time.Time{})
	m.discard(l)
}

// discard reads to the end of l, or reports that its deadline has passed. A mux that takes not even word of what has been
// read would keep what comes next, and ends.
func (m *Mux) discard(l *Link) (late bool) {
	_, err := io.Copy(io.Discard, l.Stream)
	if err == yamux.ErrConnectionWriteTimeout {
		m.end(errUnread)
	}
	return err == yamux.ErrTimeout
}

// muxLink is one link among many in one. yamux's Close is the half-close, and it has no reset: a link that is closed
// before its end is an end of data to the other side, which the channel above tells from the end of a flow.
type Link struct {
	*yamux.Stream
	mux     *Mux
	closed  atomic.Bool
	ended   atomic.Bool // the other side has ended its direction
	reading sync.Mutex  // held while somebody reads
}

var (
	_ netio.Conn       = (*Link)(nil)
	_ netio.LazyReader = (*Link)(nil)
	_ netio.Quieter    = (*Link)(nil)
)

// CloseWrite implements netio.Conn.
func (l *Link) CloseWrite() error { return l.Stream.Close() }

// Close implements net.Conn: it ends the link both ways, and whatever waits for it. What the other side still sends is
// thrown away, or it would stay.
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	err := l.Stream.Close()
	_ = l.SetDeadline(time.Unix(1, 0))
	if !l.ended.Load() {
		l.mux.run(func() { l.mux.drain(l) })
	}
	return err
}

// Read implements net.Conn.
func (l *Link) Read(p []byte) (int, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.closed.Load() {
		return 0, net.ErrClosed
	}
	n, err := l.Stream.Read(p)
	if err == io.EOF {
		l.ended.Store(true)
	}
	switch {
	case err != nil && l.closed.Load():
		err = net.ErrClosed
	case err == yamux.ErrTimeout:
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// ReadLazy implements netio.LazyReader: reading into nothing waits until there is something.
func (l *Link) ReadLazy(room netio.Room) (int, error) {
	if _, err := l.Read(nil); err != nil {
		return 0, err
	}
	return l.Read(room.Acquire()[0])
}

// Quiet implements netio.Quieter.
func (l *Link) Quiet() bool { return !l.closed.Load() && !l.Session().IsClosed() }

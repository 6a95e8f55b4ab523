package route

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
	muxWindow       = 32 << 20
	muxBacklog      = 256         // links that have not been taken
	muxWriteTimeout = time.Minute // for bytes to be taken by the link below
	muxCloseTimeout = time.Second // for the reader of the link below to notice that it is closed
)

// What the other side of a mux may have this one keep. yamux has no limits for these.
const (
	muxUnended    = 1024             // links that a relay has closed and the outlet has not
	muxUnendedFor = 10 * time.Second // since they were closed, at least
	muxUntaken    = time.Minute      // for which links wait to be taken, and none is
)

// muxConfig is yamux's. Pings are the session's affair, not the mux's. A half-closed link stays for as long as its ends
// like: StreamCloseTimeout would cut it, and its reader would see a clean end.
func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.MaxStreamWindowSize = muxWindow
	c.AcceptBacklog = muxBacklog
	c.StreamCloseTimeout = 0
	c.StreamOpenTimeout = 0
	c.ConnectionWriteTimeout = muxWriteTimeout
	c.LogOutput = io.Discard
	return c
}

// mux is many links in one, and what keeps the other side from having too much kept here.
type mux struct {
	*yamux.Session
	conn    *muxConn          // the link below
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

// newMux makes a mux of conn, with yamux.Client or yamux.Server.
func newMux(
	make func(io.ReadWriteCloser, *yamux.Config) (*yamux.Session, error), conn netio.Conn, run func(func()) bool, most int32,
) (*mux, error) {
	m := &mux{conn: &muxConn{Conn: conn}, run: run, most: most}
	s, err := make(&pingLimit{Conn: m.conn, exceeded: func() { m.blame(errPings) }}, muxConfig())
	if err != nil {
		return nil, err
	}
	m.Session = s
	return m, nil
}

// muxConn is the link below a mux. When this side has finished, what yamux has left to say is not sent: it would fail, and
// so would what is still read.
type muxConn struct {
	netio.Conn
	mu       sync.Mutex
	finished bool
}

// Write implements net.Conn.
func (c *muxConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// finish ends this side's direction of the mux behind all that has been written on its links. The other side reads that,
// and ends the mux.
func (m *mux) finish() error {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	m.conn.finished = true
	return m.conn.CloseWrite()
}

func (m *mux) blame(reason error) { m.reason.CompareAndSwap(nil, &reason) }

// end is Close for what the other side did, which Err tells from then on.
func (m *mux) end(reason error) {
	m.blame(reason)
	_ = m.Close()
}

// Err returns what the other side did for this side to end the mux, or nil.
func (m *mux) Err() error {
	if reason := m.reason.Load(); reason != nil {
		return *reason
	}
	return nil
}

// Close ends the mux by ending the link below, whose reader then does the rest at once. Whoever reads from a link of a
// yamux that is closed from elsewhere goes round in circles until that reader has had its turn.
func (m *mux) Close() error {
	_ = m.conn.Close()
	select {
	case <-m.CloseChan():
	case <-time.After(muxCloseTimeout):
	}
	return m.Session.Close()
}

// link returns one of the links.
func (m *mux) link(s *yamux.Stream) *muxLink { return &muxLink{Stream: s, mux: m} }

// open opens a link.
func (m *mux) open() (*muxLink, error) {
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
func (m *mux) watch() {
	look := time.NewTicker(muxUntaken)
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
func (m *mux) drain(l *muxLink) {
	l.reading.Lock() // whoever reads has been told to stop, and nobody begins any more
	_ = l.SetReadDeadline(time.Now().Add(muxUnendedFor))
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
func (m *mux) discard(l *muxLink) (late bool) {
	_, err := io.Copy(io.Discard, l.Stream)
	if err == yamux.ErrConnectionWriteTimeout {
		m.end(errUnread)
	}
	return err == yamux.ErrTimeout
}

// muxLink is one link among many in one. yamux's Close is the half-close, and it has no reset: a link that is closed
// before its end is an end of data to the other side, which the channel above tells from the end of a flow.
type muxLink struct {
	*yamux.Stream
	mux     *mux
	closed  atomic.Bool
	ended   atomic.Bool // the other side has ended its direction
	reading sync.Mutex  // held while somebody reads
}

var (
	_ netio.Conn       = (*muxLink)(nil)
	_ netio.LazyReader = (*muxLink)(nil)
	_ netio.Quieter    = (*muxLink)(nil)
)

// CloseWrite implements netio.Conn.
func (l *muxLink) CloseWrite() error { return l.Stream.Close() }

// Close implements net.Conn: it ends the link both ways, and whatever waits for it. What the other side still sends is
// thrown away, or it would stay.
func (l *muxLink) Close() error {
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
func (l *muxLink) Read(p []byte) (int, error) {
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
func (l *muxLink) ReadLazy(room netio.Room) (int, error) {
	if _, err := l.Read(nil); err != nil {
		return 0, err
	}
	return l.Read(room.Acquire()[0])
}

// Quiet implements netio.Quieter.
func (l *muxLink) Quiet() bool { return !l.closed.Load() && !l.Session().IsClosed() }

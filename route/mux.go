package route

import (
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

// muxLink is one link among many in one. yamux's Close is the half-close, and it has no reset: a link that is closed
// before its end is an end of data to the other side, which the channel above tells from the end of a flow.
type muxLink struct {
	*yamux.Stream
	links   *muxLinks
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
		l.links.run(func() { l.links.drain(l) })
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

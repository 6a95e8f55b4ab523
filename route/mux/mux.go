// Package mux puts many links on one carrier.
//
// A carrier is two streams of bytes, one each way. It need not be able to half-close, and what it
// cannot do its links can: each has a half-close of its own, and flow control of its own. So a mux
// turns one connection into many, and a transport that has no half-close (a WebSocket, a queue,
// Bluetooth) into one that has. It wraps yamux, and bounds what the other side may have this one
// keep; the protocol is yamux's, version 0.
//
// One side of a mux is the opener and the other one the acceptor, which is yamux's client and
// server. Opening waits for nothing: bytes may follow at once.
//
// The package knows no route and no relay. It authenticates nobody and encrypts nothing: that is
// done below it, or above.
package mux

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/secureportal/sp/internal/metrics"
)

var muxesOpen = metrics.NewGauge("muxes_open", "connections that carry many links")

// Carrier is what a mux runs on. Bytes arrive in order and unchanged, or Read fails; Close ends
// both directions and has Read and Write return. A net.Conn is one.
//
// A carrier may have more methods, and is used by them: CloseWrite, with which Finish ends one
// direction and leaves the other one open; and LocalAddr and RemoteAddr, which are the links' then.
type Carrier interface {
	io.ReadWriteCloser

	// SetWriteDeadline has writes fail that the carrier has not taken by t. Zero is never.
	SetWriteDeadline(t time.Time) error
}

// Config is what both sides of a mux say about themselves.
type Config struct {
	// Run runs a function on a goroutine that the carrier's owner waits for, or reports false if
	// the owner is closed. The mux uses it to read closed links to their end.
	Run func(func()) bool

	// MaxUnended is how many links the other side may leave open that are closed here, before
	// the mux ends. 0 is any number.
	MaxUnended int32
}

// Mux is many links on one carrier. Its owner calls Close when the mux has ended, by whichever
// side. It is safe for concurrent use.
type Mux struct {
	session *yamux.Session
	carrier *carrier
	config  Config

	unended         atomic.Int32 // links that are closed here and not there
	opening, opened atomic.Int64 // links that wait in Open, and that have been opened

	reason atomic.Pointer[error] // see Err
	closed sync.Once
}

// NewOpener makes a mux of a carrier whose other end is an acceptor. The mux owns the carrier from
// then on.
func NewOpener(c Carrier, config Config) (*Mux, error) { return newMux(yamux.Client, c, config) }

// NewAcceptor makes a mux of a carrier whose other end is an opener. The mux owns the carrier from
// then on.
func NewAcceptor(c Carrier, config Config) (*Mux, error) { return newMux(yamux.Server, c, config) }

type maker func(io.ReadWriteCloser, *yamux.Config) (*yamux.Session, error)

func newMux(make maker, c Carrier, config Config) (*Mux, error) {
	m := &Mux{carrier: &carrier{Carrier: c}, config: config}
	below := pingLimit{Reader: c, exceeded: func() { m.blame(errPings) }}
	s, err := make(&limited{m.carrier, below}, yamuxConfig())
	if err != nil {
		return nil, err
	}
	m.session = s
	muxesOpen.Inc()
	return m, nil
}

// yamuxConfig has yamux send no pings: whether the other side lives is the carrier's affair. A
// half-closed link stays for as long as its ends like: StreamCloseTimeout would cut it, and its
// reader would see a clean end.
func yamuxConfig() *yamux.Config {
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

// Open opens a link.
func (m *Mux) Open() (*Link, error) {
	m.opening.Add(1)
	defer m.opening.Add(-1)
	s, err := m.session.OpenStream()
	if err != nil {
		return nil, err
	}
	m.opened.Add(1)
	return &Link{stream: s, mux: m}, nil
}

// Accept returns the next link that the other side has opened.
func (m *Mux) Accept() (*Link, error) {
	s, err := m.session.AcceptStream()
	if err != nil {
		return nil, err
	}
	return &Link{stream: s, mux: m}, nil
}

// AcceptNone tells the other side that this one accepts no links, and drops those that come.
func (m *Mux) AcceptNone() error { return m.session.GoAway() }

// Finish ends this side's direction of the carrier, behind all that has been written on the links.
// The other side reads that, and ends the mux. A carrier without CloseWrite is closed: it has to
// deliver first what it has taken.
func (m *Mux) Finish() error { return m.carrier.finish() }

// SetWriteDeadline bounds what is still written on the carrier. Zero is no bound.
func (m *Mux) SetWriteDeadline(t time.Time) error { return m.carrier.SetWriteDeadline(t) }

// Done returns a channel that is closed when the mux has ended.
func (m *Mux) Done() <-chan struct{} { return m.session.CloseChan() }

// Err returns what the other side did for this side to end the mux, or nil.
func (m *Mux) Err() error {
	if reason := m.reason.Load(); reason != nil {
		return *reason
	}
	return nil
}

func (m *Mux) blame(reason error) { m.reason.CompareAndSwap(nil, &reason) }

// end is Close for what the other side did.
func (m *Mux) end(reason error) {
	m.blame(reason)
	_ = m.Close()
}

// Close ends the mux and its links, and closes the carrier. It closes the carrier first, whose
// reader then does the rest at once: whoever reads from a link of a yamux that is closed from
// elsewhere spins until that reader has had its turn.
func (m *Mux) Close() error {
	m.closed.Do(muxesOpen.Dec)
	_ = m.carrier.Close()
	select {
	case <-m.session.CloseChan():
	case <-time.After(closeTimeout):
	}
	return m.session.Close()
}

// Watch ends the mux if the other side accepts none of the links that wait for it. It returns when
// the mux has ended.
func (m *Mux) Watch() {
	look := time.NewTicker(untakenAfter)
	defer look.Stop()
	waited, before := false, int64(0)
	for {
		select {
		case <-m.session.CloseChan():
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

// drain throws away what comes on a closed link until the other side ends it. One who never ends
// it may be an application that has nothing to say, or an attacker who leaves many.
func (m *Mux) drain(l *Link) {
	l.reading.Lock() // whoever reads has been told to stop, and nobody begins any more
	_ = l.stream.SetReadDeadline(time.Now().Add(unendedFor))
	l.reading.Unlock()
	if !m.discard(l) {
		return
	}
	defer m.unended.Add(-1)
	if most := m.config.MaxUnended; m.unended.Add(1) > most && most > 0 {
		m.end(errUnended)
		return
	}
	_ = l.stream.SetReadDeadline(time.Time{})
	m.discard(l)
}

// discard reads to the end of l, or reports that its deadline has passed. If the other side does
// not even take word of what has been read, this side would keep what comes next: the mux ends.
func (m *Mux) discard(l *Link) (late bool) {
	_, err := io.Copy(io.Discard, l.stream)
	if err == yamux.ErrConnectionWriteTimeout {
		m.end(errUnread)
	}
	return err == yamux.ErrTimeout
}

// carrier is the carrier as yamux writes to it. Once this side has finished, what yamux has left
// to say is not sent: it would fail, and so would what is still read.
type carrier struct {
	Carrier
	mu       sync.Mutex
	finished bool
}

// Write implements io.Writer.
func (c *carrier) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return len(p), nil
	}
	return c.Carrier.Write(p)
}

func (c *carrier) finish() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished = true
	if half, ok := c.Carrier.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// limited is the carrier as yamux sees it: what it reads is looked at for pings.
type limited struct {
	*carrier
	pings pingLimit
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) { return l.pings.Read(p) }

// addressed is a carrier that says where it is from.
type addressed interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// LocalAddr returns the carrier's address, for yamux, which asks for it.
func (l *limited) LocalAddr() net.Addr {
	if a, ok := l.Carrier.(addressed); ok {
		return a.LocalAddr()
	}
	return noAddr{}
}

// RemoteAddr returns the address of the carrier's other end.
func (l *limited) RemoteAddr() net.Addr {
	if a, ok := l.Carrier.(addressed); ok {
		return a.RemoteAddr()
	}
	return noAddr{}
}

// noAddr is the address of a carrier that has none.
type noAddr struct{}

func (noAddr) Network() string { return "mux" }
func (noAddr) String() string  { return "mux" }

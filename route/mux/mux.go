// Package mux puts many links on one carrier.
//
// A carrier is two streams of bytes, one each way. It need not be able to half-close or to reset;
// its links can, and have flow control of their own. So a mux turns one connection into many, and a
// transport that has no half-close (a WebSocket, a queue, Bluetooth) into one that has.
//
// What passes is yamux, version 0, and each side bounds what the other one may have it keep: bytes
// that nobody reads by a budget, links by numbers, answers by a rate. One side of a mux is the
// opener and the other one the acceptor, which is yamux's client and server.
//
// The package knows no route and no relay. It authenticates nobody and encrypts nothing: that is
// done below it, or above.
package mux

import (
	"container/list"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/internal/metrics"
)

var muxesOpen = metrics.NewGauge("muxes_open", "connections that carry many links")

// Limits that are nobody's choice.
const (
	backlog      = 256              // links that wait to be taken by the other side
	maxLinks     = 16384            // links that the other side may have open
	maxUnended   = 1024             // links closed here that the other side may leave open
	unendedFor   = 10 * time.Second // since they were closed, before one too many is reset
	untakenAfter = time.Minute      // for which links wait to be taken, and none is
	closeTimeout = time.Second      // for the reader of the carrier to notice that it is closed
	muxBudget    = 64 << 20         // bytes that the windows of one mux grow by at most
)

// Carrier is what a mux runs on. Bytes arrive in order and unchanged, or Read fails; Close ends
// both directions and has Read and Write return. A net.Conn is one.
//
// A carrier may have more methods, and is used by them: CloseWrite, with which Finish ends one
// direction and leaves the other one open; LocalAddr and RemoteAddr, which are the links' then; and
// netio.LazyReader, with which an idle mux holds no buffer.
type Carrier interface {
	io.ReadWriteCloser

	// SetWriteDeadline has writes fail that the carrier has not taken by t. Zero is never.
	SetWriteDeadline(t time.Time) error
}

// Config is what both sides of a mux say about themselves.
type Config struct {
	// Run runs a function on a goroutine that the carrier's owner waits for, or reports false,
	// and runs nothing, if the owner is closed. It must be set.
	Run func(func()) bool

	// Reads says that the owner calls Read: otherwise a goroutine of Run's reads the carrier.
	Reads bool

	// Frame is the most bytes of a frame, its header included, where the carrier is slow: whatever
	// else is to be said waits for so many. 0 is as many as there may be.
	Frame int

	// Budget bounds the windows of this mux together with those of others that have the same one.
	// Nil means none but this mux's own.
	Budget *Budget
}

// What ends a mux.
var (
	errEnded   = errors.New("the mux has ended")
	errPings   = errors.New("the other side has sent too many pings in the mux")
	errUntaken = errors.New("the other side has taken no link of the mux for a while")
	errUnread  = errors.New("the other side has not read what it is told about links of the mux")
	errOwed    = errors.New("the other side asks for more in the mux than it reads answers to")

	// ErrAcceptsNone says that the other side accepts no links.
	ErrAcceptsNone = errors.New("the other side of the mux accepts no links")
)

// Mux is many links on one carrier, which it owns. Its owner calls Close when the mux has ended, by
// whichever side. It is safe for concurrent use.
//
//	open ──▶ finishing (Finish: nothing more is sent) ──▶ ended
//	  └── Close, the carrier's end, a fault of the other side ──▲
type Mux struct {
	config  Config
	carrier Carrier
	out     writer
	pings   pingLimit // owned by the goroutine that reads
	own     *Budget   // of this mux
	data    int       // bytes in a frame that this side sends; set once

	slots  chan struct{} // one for each link that waits to be taken by the other side
	taken  atomic.Uint64 // how many it has taken
	closed chan struct{} // when the mux has ended
	read   chan struct{} // closed when nobody reads the carrier any more

	mu       sync.Mutex // guards what follows
	queue    chan *Link // that the other side has opened and nobody has accepted here: see queued
	err      error      // why it ended
	links    map[uint32]*Link
	most     int       // links there have been at once
	next     uint32    // number of the next link: odd ones are the opener's
	accepts  bool      // links of the other side
	goneAway bool      // the other side takes none
	unended  list.List // of *Link that are closed here, the one closed first is first
	reaper   *time.Timer

	calm calm
}

// NewOpener makes a mux of a carrier whose other end is an acceptor. The mux owns the carrier from
// then on. It fails if config.Run does not run anything any more.
func NewOpener(c Carrier, config Config) (*Mux, error) { return newMux(c, config, 1) }

// NewAcceptor makes a mux of a carrier whose other end is an opener. The mux owns the carrier from
// then on. It fails if config.Run does not run anything any more.
func NewAcceptor(c Carrier, config Config) (*Mux, error) { return newMux(c, config, 2) }

func newMux(c Carrier, config Config, first uint32) (*Mux, error) {
	m := &Mux{
		config: config, carrier: c, own: NewBudget(muxBudget),
		slots:  make(chan struct{}, backlog),
		closed: make(chan struct{}), read: make(chan struct{}),
		links: make(map[uint32]*Link), next: first, accepts: true,
	}
	m.data = maxData
	if config.Frame > headerSize {
		m.data = min(maxData, config.Frame-headerSize)
	}
	if m.config.Budget == nil {
		m.config.Budget = NewBudget(muxBudget)
	}
	m.out = writer{
		carrier: c, failed: m.fail, run: config.Run, done: m.closed, turn: make(chan struct{}, 1),
	}
	if !config.Reads && !config.Run(m.Read) {
		return nil, net.ErrClosed
	}
	muxesOpen.Inc()
	return m, nil
}

// Open opens a link. It waits while too many have not been taken, and fails if the other side takes
// none.
func (m *Mux) Open() (*Link, error) {
	if err := m.awaitSlot(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	if m.err != nil || m.goneAway {
		defer m.mu.Unlock()
		<-m.slots
		if m.err != nil {
			return nil, errEnded
		}
		return nil, ErrAcceptsNone
	}
	l := newLink(m, m.next)
	m.next += 2
	m.addLocked(l)
	m.mu.Unlock()
	return l, m.out.say(header{kind: typeWindow, flags: flagSYN, link: l.id})
}

// awaitSlot waits until fewer than backlog links wait to be taken. A mux whose other side takes
// none for a while ends.
func (m *Mux) awaitSlot() error {
	select {
	case m.slots <- struct{}{}:
		return nil
	default:
	}
	for {
		before := m.taken.Load()
		timer := time.NewTimer(untakenAfter)
		select {
		case m.slots <- struct{}{}:
			timer.Stop()
			return nil
		case <-m.closed:
			timer.Stop()
			return errEnded
		case <-timer.C:
		}
		if m.taken.Load() == before {
			m.fail(errUntaken)
			return errEnded
		}
	}
}

// Accept returns the next link that the other side has opened. When the mux has ended it returns
// those first that came before, for they may have bytes to read.
func (m *Mux) Accept() (*Link, error) {
	m.mu.Lock()
	queue := m.queuedLocked()
	m.mu.Unlock()
	select {
	case l := <-queue:
		return m.accepted(l), nil
	case <-m.closed:
	}
	select {
	case l := <-queue:
		return m.accepted(l), nil
	default:
		return nil, errEnded
	}
}

// queuedLocked returns the queue of links to accept. A side that accepts none never has one.
func (m *Mux) queuedLocked() chan *Link {
	if m.queue == nil {
		m.queue = make(chan *Link, backlog)
	}
	return m.queue
}

// accepted tells the other side that l is taken. If that fails the mux ends, and l with it.
func (m *Mux) accepted(l *Link) *Link {
	_ = m.out.say(header{kind: typeWindow, flags: flagACK, link: l.id})
	return l
}

// AcceptNone tells the other side that this one accepts no links, and resets those that come all
// the same.
func (m *Mux) AcceptNone() error {
	m.mu.Lock()
	m.accepts = false
	m.mu.Unlock()
	return m.out.say(header{kind: typeGoAway, length: goAwayNormal})
}

// Finish ends this side's direction of the carrier, behind all that has been written on the links.
// The other side reads that, and ends the mux. A carrier without CloseWrite is closed: it has to
// deliver first what it has taken.
func (m *Mux) Finish() error { return m.out.finish() }

// SetWriteDeadline bounds what is still written on the carrier. Zero is no bound.
func (m *Mux) SetWriteDeadline(t time.Time) error { return m.carrier.SetWriteDeadline(t) }

// Done returns a channel that is closed when the mux has ended.
func (m *Mux) Done() <-chan struct{} { return m.closed }

// Err returns what the other side did for this side to end the mux, or nil.
func (m *Mux) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, fault := range []error{errProtocol, errPings, errUntaken, errUnread, errOwed} {
		if errors.Is(m.err, fault) {
			return m.err
		}
	}
	return nil
}

// Close ends the mux and its links, whose readers get what has come, and then the end; and closes
// the carrier.
func (m *Mux) Close() error {
	m.fail(errEnded)
	select {
	case <-m.read:
	case <-time.After(closeTimeout):
	}
	return nil
}

// fail ends the mux because of err; only the first call does.
func (m *Mux) fail(err error) {
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return
	}
	m.err = err
	muxesOpen.Dec()
	links := m.links
	m.links = nil
	m.unended.Init()
	if m.reaper != nil {
		m.reaper.Stop()
	}
	m.calm.stop()
	close(m.closed)
	m.mu.Unlock()
	_ = m.carrier.Close()
	for _, l := range links {
		l.over()
	}
}

// forget takes a link out of the mux. What still comes for it is thrown away.
func (m *Mux) forget(l *Link) {
	m.mu.Lock()
	delete(m.links, l.id)
	m.calmLaterLocked()
	if l.turn != nil && m.links != nil {
		m.unended.Remove(l.turn)
		l.turn = nil
	}
	m.mu.Unlock()
	m.acknowledge(l)
}

// leave takes note that l is closed here and the other side has not ended it.
func (m *Mux) leave(l *Link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.links[l.id] != l {
		return
	}
	l.left = time.Now()
	l.turn = m.unended.PushBack(l)
	m.reapLaterLocked()
}

// reapLaterLocked has the links reset that are too many of those closed here, once they have had
// their time.
func (m *Mux) reapLaterLocked() {
	if m.unended.Len() <= maxUnended || m.reaper != nil {
		return
	}
	oldest := m.unended.Front().Value.(*Link)
	m.reaper = time.AfterFunc(time.Until(oldest.left.Add(unendedFor)), m.reap)
}

func (m *Mux) reap() {
	var late []*Link
	m.mu.Lock()
	m.reaper = nil
	for m.links != nil && m.unended.Len() > maxUnended {
		oldest := m.unended.Front().Value.(*Link)
		if time.Since(oldest.left) < unendedFor {
			break
		}
		m.unended.Remove(oldest.turn)
		oldest.turn = nil
		late = append(late, oldest)
	}
	if m.links != nil {
		m.reapLaterLocked()
	}
	m.mu.Unlock()
	for _, l := range late {
		l.sendReset()
	}
}

// Package mux puts many links on one carrier. What passes is yamux, and each side bounds what the
// other one may have it keep: windows by a budget, links by numbers, and what nobody needs.
//
// A link has what a carrier may lack: each direction ends on its own, and a reset is told from an
// end. The package knows no route, no relay and no keys.
package mux

import (
	"container/list"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

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

// Carrier is what a mux runs on: a connection that need not be able to reset. Finish alone needs
// its half-close.
type Carrier interface {
	net.Conn
	CloseWrite() error
}

// Side is which of the two a mux is: the opener's links have odd numbers.
type Side uint8

// The sides of a mux.
const (
	Opener Side = iota
	Acceptor
)

// Config is how a mux is made.
type Config struct {
	Side Side

	// Go runs a function on a goroutine that the carrier's owner waits for, and reports false, and
	// runs nothing, if that has been closed. It must be set.
	Go func(func()) bool

	// Budget bounds the windows of this mux together with those of others that have the same one.
	// Nil means one of this mux's own.
	Budget *Budget
}

// What ends a mux.
var (
	errEnded   = errors.New("the mux has ended")
	errPings   = errors.New("the other side has sent too many pings in the mux")
	errUntaken = errors.New("the other side has taken no link of the mux for a while")
	errUnread  = errors.New("the other side has not read what it is told about links of the mux")

	// ErrGoingAway says that the other side takes no links.
	ErrGoingAway = errors.New("the other side of the mux takes no links")
)

// Mux is many links on one carrier, which it owns. It is safe for concurrent use.
//
//	open ──▶ finishing (Finish: nothing more is sent) ──▶ ended
//	  └── Close, the carrier's end, a fault of the other side ──▲
type Mux struct {
	config  Config
	carrier Carrier
	out     writer
	pings   pingLimit // owned by the goroutine that reads
	own     *Budget   // of this mux

	slots  chan struct{} // one for each link that waits to be taken by the other side
	taken  atomic.Uint64 // how many it has taken
	queue  chan *Link    // that it has opened and nobody has accepted here
	closed chan struct{} // when the mux has ended
	read   chan struct{} // closed when nobody reads the carrier any more

	mu       sync.Mutex // guards what follows
	err      error      // why it ended
	links    map[uint32]*Link
	next     uint32    // number of the next link
	accepts  bool      // links of the other side
	goneAway bool      // the other side takes none
	unended  list.List // of *Link that are closed here, the one closed first is first
	reaper   *time.Timer
}

// New makes a mux of carrier. Close ends both. It fails if config.Go does not run anything any more.
func New(carrier Carrier, config Config) (*Mux, error) {
	m := &Mux{
		config: config, carrier: carrier, own: NewBudget(muxBudget),
		slots: make(chan struct{}, backlog), queue: make(chan *Link, backlog),
		closed: make(chan struct{}), read: make(chan struct{}),
		links: make(map[uint32]*Link), next: 1, accepts: true,
	}
	if config.Side == Acceptor {
		m.next = 2
	}
	if m.config.Budget == nil {
		m.config.Budget = m.own
		m.own = NewBudget(muxBudget)
	}
	m.out = writer{
		carrier: carrier, failed: m.fail, run: config.Go, done: m.closed,
		turn: make(chan struct{}, 1),
	}
	if !config.Go(m.readCarrier) {
		return nil, net.ErrClosed
	}
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
		return nil, ErrGoingAway
	}
	l := newLink(m, m.next)
	m.next += 2
	m.links[l.id] = l
	m.mu.Unlock()
	return l, m.out.say(header{kind: typeWindow, flags: flagSYN, link: l.id})
}

// awaitSlot waits until fewer than backlog links wait to be taken. A mux whose other side takes none
// for a while ends.
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

// Accept returns the next link that the other side has opened.
func (m *Mux) Accept() (*Link, error) {
	select {
	case l := <-m.queue:
		return l, m.out.say(header{kind: typeWindow, flags: flagACK, link: l.id})
	case <-m.closed:
		return nil, errEnded
	}
}

// RefuseLinks has the other side open no links, and resets those that it opens all the same.
func (m *Mux) RefuseLinks() error {
	m.mu.Lock()
	m.accepts = false
	m.mu.Unlock()
	return m.out.say(header{kind: typeGoAway, length: goAwayNormal})
}

// Finish ends this side's direction of the carrier behind all that has been written on links. The
// other side reads that, and ends the mux.
func (m *Mux) Finish() error { return m.out.finish() }

// Done returns a channel that is closed when the mux has ended.
func (m *Mux) Done() <-chan struct{} { return m.closed }

// Fault returns what the other side did for this side to end the mux, or nil.
func (m *Mux) Fault() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, fault := range []error{errProtocol, errPings, errUntaken, errUnread} {
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
	links := m.links
	m.links = nil
	m.unended.Init()
	if m.reaper != nil {
		m.reaper.Stop()
	}
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

// readCarrier reads the carrier until it ends.
func (m *Mux) readCarrier() {
	defer close(m.read)
	in := input{mux: m}
	var room netio.PooledRoom
	for {
		n, err := netio.ReadLazy(m.carrier, &room)
		if err == nil {
			err = in.feed(room.Filled(n))
		}
		room.Release()
		if errors.Is(err, errProtocol) {
			_ = m.out.say(header{kind: typeGoAway, length: goAwayProtocol})
		}
		if err == io.EOF {
			err = errEnded
		}
		if err != nil {
			m.fail(err)
			return
		}
	}
}

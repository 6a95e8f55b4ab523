package queue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

const (
	// leastWindow and mostWindow are how many bytes of a carrier may be in the broker, and with the
	// receiver, that nobody has taken. Each message counts as overhead more than its data.
	leastWindow = maxData + overhead
	mostWindow  = 4 << 20

	overhead = 128

	// closeTimeout is how long Close waits for the broker to take what ends a carrier.
	closeTimeout = 2 * time.Second

	// toldParts is of how many parts of the window the receiver tells that they are taken.
	toldParts = 4
)

// What ends a carrier that nobody has ended. netio.IsReset knows all of them.
var (
	errGap = fmt.Errorf("the broker has lost, repeated or changed something: %w",
		syscall.ECONNRESET)
	errOverrun = fmt.Errorf("the other side of the queue sends more than it may: %w",
		syscall.ECONNRESET)
	errCut = fmt.Errorf("the other side of the queue knows the carrier no more: %w",
		syscall.ECONNRESET)
	errGone = fmt.Errorf("nobody reads at the other side of the queue any more: %w",
		syscall.ECONNRESET)
	errSilent = fmt.Errorf("the other side of the queue is silent: %w", syscall.ECONNRESET)
)

// errNotTold is the error of a Close after which the other side may not learn that soon.
var errNotTold = errors.New("the broker does not take the end of the carrier in time")

// Carrier is two streams of bytes through a queue, as package mux wants it. It is safe for
// concurrent use: Read is for one goroutine at a time.
//
//	open ──▶ ended by the other side (Read gets what is there, and then the end)
//	  └── Close, or a fault (Read and Write fail) ──▶ gone
type Carrier struct {
	hub    *Hub
	id     ID
	to     Box
	theirs int // window of who reads there
	ours   int // of this side

	sending chan struct{} // full while a message is sent, by who owns what follows
	next    uint64        // number of the next message

	mu       sync.Mutex // guards what follows; never held while something is sent
	changed  chan struct{}
	expected uint64   // number of the next message that comes
	came     [][]byte // that nobody has read
	first    int      // bytes of the first of them that have been read
	waiting  int      // what came counts for
	taken    uint64   // what has been read has counted for
	told     uint64   // of that, to the other side
	sent     uint64   // what was sent counts for
	theyTook uint64   // of that, as they say
	owes     bool     // a beat, for much was taken
	heard    time.Time
	said     time.Time
	ended    bool // by the other side
	closed   bool // here
	err      error
	deadline time.Time
}

var (
	_ netio.LazyReader = (*Carrier)(nil)
	_ netio.Unsenter   = (*Carrier)(nil)
)

func (h *Hub) newCarrier(id ID, to Box, theirs, ours int) *Carrier {
	now := time.Now()
	return &Carrier{
		hub: h, id: id, to: to, theirs: min(theirs, mostWindow), ours: ours,
		sending: make(chan struct{}, 1), changed: make(chan struct{}), heard: now, said: now,
	}
}

// wakeLocked has all look again who wait for something.
func (c *Carrier) wakeLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// receive takes a message that has a number.
func (c *Carrier) receive(m message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed || c.err != nil:
		return nil
	case m.number != c.expected || c.ended:
		return errGap
	case m.taken > c.sent || m.taken < c.theyTook:
		return errGap
	}
	c.expected++
	c.heard = time.Now()
	if m.taken > c.theyTook {
		c.theyTook = m.taken
		c.wakeLocked()
	}
	switch m.kind {
	case kindData:
		c.waiting += len(m.body) + overhead
		if c.waiting > c.ours {
			return errOverrun
		}
		c.came = append(c.came, m.body)
		c.wakeLocked()
	case kindEnd:
		c.ended = true
		c.wakeLocked()
	}
	return nil
}

// Read implements io.Reader.
func (c *Carrier) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, changed, err := c.take(p)
		if n > 0 || err != nil {
			return n, err
		}
		<-changed
	}
}

// ReadLazy implements netio.LazyReader: it takes the room when there is something to read.
func (c *Carrier) ReadLazy(room netio.Room) (int, error) {
	for {
		changed, err := c.look()
		if err != nil {
			return 0, err
		}
		if changed == nil {
			n, _, err := c.take(room.Acquire()[0])
			if n > 0 {
				return n, nil
			}
			room.Release()
			if err != nil {
				return 0, err
			}
			continue
		}
		<-changed
	}
}

// look returns nil if there is something to read, and otherwise what to wait for.
func (c *Carrier) look() (<-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.came) > 0 {
		return nil, nil
	}
	return c.changed, c.overLocked()
}

// overLocked is why nothing more is to be read, or nil. What has come of a direction that was ended
// in order is read first, whatever happens then.
func (c *Carrier) overLocked() error {
	switch {
	case len(c.came) > 0:
		return nil
	case c.ended:
		return io.EOF
	case c.err != nil:
		return c.err
	case c.closed:
		return os.ErrClosed
	}
	return nil
}

// take moves what has come to p. If there is nothing it returns what to wait for.
func (c *Carrier) take(p []byte) (total int, changed <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.came) == 0 {
		return 0, c.changed, c.overLocked()
	}
	for len(p) > 0 && len(c.came) > 0 {
		n := copy(p, c.came[0][c.first:])
		p = p[n:]
		total += n
		if c.first += n; c.first == len(c.came[0]) {
			cost := c.first + overhead
			c.waiting -= cost
			c.taken += uint64(cost)
			c.came[0] = nil
			c.came, c.first = c.came[1:], 0
		}
	}
	if len(c.came) == 0 {
		c.came = nil
	}
	if c.taken-c.told >= uint64(c.ours/toldParts) && !c.owes {
		c.owes = true
		c.hub.owe()
	}
	return total, nil, nil
}

// Write implements io.Writer. It waits while too much is in the broker.
func (c *Carrier) Write(p []byte) (total int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), c.hub.most-headSize)]
		if err := c.awaitRoom(len(part) + overhead); err != nil {
			return total, err
		}
		if err := c.send(kindData, part); err != nil {
			return total, err
		}
		total += len(part)
		p = p[len(part):]
	}
	return total, nil
}

// awaitRoom waits until so much more may be sent, and counts it as sent.
func (c *Carrier) awaitRoom(cost int) error {
	for {
		c.mu.Lock()
		var err error
		switch {
		case c.err != nil:
			err = c.err
		case c.closed, c.ended:
			err = os.ErrClosed
		case c.sent-c.theyTook+uint64(cost) <= uint64(c.theirs):
			c.sent += uint64(cost)
			c.mu.Unlock()
			return nil
		}
		changed, by := c.changed, c.deadline
		c.mu.Unlock()
		if err != nil {
			return err
		}
		if err := awaitChange(changed, by); err != nil {
			return err
		}
	}
}

// awaitChange waits until by; the zero time never comes.
func awaitChange(changed <-chan struct{}, by time.Time) error {
	if by.IsZero() {
		<-changed
		return nil
	}
	timer := time.NewTimer(time.Until(by))
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// send sends a message that has a number.
func (c *Carrier) send(k kind, body []byte) error {
	c.sending <- struct{}{}
	defer c.letSend()
	return c.sendLocked(k, body)
}

// letSend has others send. What is owed since the message was made has to be asked for anew: the
// hub may have looked meanwhile.
func (c *Carrier) letSend() {
	<-c.sending
	c.mu.Lock()
	owes := c.owes
	c.mu.Unlock()
	if owes {
		c.hub.owe()
	}
}

// sendLocked is send for who has the turn to send.
func (c *Carrier) sendLocked(k kind, body []byte) error {
	c.mu.Lock()
	err := c.err
	if c.closed && k != kindEnd {
		err = os.ErrClosed
	}
	c.told, c.said, c.owes = c.taken, time.Now(), false
	m := message{kind: k, carrier: c.id, number: c.next, taken: c.taken, body: body}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	buffer := netio.GetBuffer(netio.ClassFor(headSize + len(body)))
	defer buffer.Free()
	c.next++
	if err := c.hub.send(c.to, m.append(buffer.Bytes[:0])); err != nil {
		err = fmt.Errorf("%w: %w", err, syscall.ECONNRESET)
		c.fail(err)
		return err
	}
	return nil
}

// SetWriteDeadline has writes fail that wait for the other side until t. Zero is never. What waits
// for the broker itself has a limit of its own.
func (c *Carrier) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	c.wakeLocked()
	return nil
}

// Unsent implements netio.Unsenter: all carriers of a hub go out the same way.
func (c *Carrier) Unsent() int {
	if c.hub.config.Unsent == nil {
		return 0
	}
	return c.hub.config.Unsent()
}

// QuietFor returns for how long nothing has come.
func (c *Carrier) QuietFor() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.heard)
}

// Close ends both directions, and has what was written arrive. It does not wait for long for a
// broker that takes nothing: that goes on without it, until the hub is closed.
func (c *Carrier) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.wakeLocked()
	failed := c.err != nil
	c.mu.Unlock()
	ended := make(chan error, 1)
	saying := !failed && c.hub.begin(func() {
		err := c.send(kindEnd, nil)
		c.hub.forget(c)
		ended <- err
	})
	if !saying {
		c.hub.forget(c)
		return nil
	}
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		return errNotTold
	}
}

// fail ends the carrier because of err.
func (c *Carrier) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.closed {
		return
	}
	c.err = err
	if !c.ended {
		c.came, c.first = nil, 0
	}
	c.wakeLocked()
}

// beat sends one if it is owed, or nothing has been said for a while. It reports errSilent if
// nothing has come for too long.
func (c *Carrier) beat(now time.Time) error {
	c.mu.Lock()
	due := c.owes || now.Sub(c.said) >= beatEvery
	silent := now.Sub(c.heard) >= deadAfter && !c.ended
	over := c.closed || c.err != nil
	c.mu.Unlock()
	switch {
	case over:
		return nil
	case silent:
		return errSilent
	case due:
		return c.beatNow()
	}
	return nil
}

// beatNow sends one, unless something is being sent, which says as much or has another one asked
// for: a hub waits for none of its carriers.
func (c *Carrier) beatNow() error {
	select {
	case c.sending <- struct{}{}:
	default:
		return nil
	}
	defer c.letSend()
	return c.sendLocked(kindBeat, nil)
}

// excuse has the time not count in which this process stood still.
func (c *Carrier) excuse(stood time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = c.heard.Add(stood)
}

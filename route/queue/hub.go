// Package queue makes carriers of a broker's queue: two nodes that reach nothing in common but a
// broker put messages into each other's boxes there, and package mux makes links of that.
//
// The broker and all who may write there are strangers: they may lose, hold back, repeat, change
// and invent messages. Whatever is not the next message of a carrier ends it, so that what comes
// out is in order, without gaps or repeats, or an error. Who is at the other end, the channel says.
//
// The package knows no broker and no address: messages go out by a function, and come in by a
// method. It is where there is one carrier for who dials, and many for who listens.
package queue

import (
	"crypto/rand"
	"errors"
	"sync"
	"syscall"
	"time"
)

// Limits that are nobody's choice.
const (
	// helloEvery is between two hellos of who dials: what it says may be lost, and who listens may
	// have just begun to.
	helloEvery = time.Second

	// misses is how many hellos there have to be that the broker says nobody has got, and missPause
	// is after one: in a cluster it takes a moment until all servers know who listens.
	misses    = 3
	missPause = 300 * time.Millisecond

	// maxHellos is of how many hellos is remembered that they were answered, and helloFor for how
	// long. The oldest is forgotten first.
	maxHellos = 4096
	helloFor  = 10 * time.Second

	// maxTold is how many answers to strangers wait to be sent. More are dropped.
	maxTold = 512

	// beatEvery is after which silence a side says that it is there, and deadAfter after which the
	// other one is given up.
	beatEvery = 10 * time.Second
	deadAfter = 3 * beatEvery

	// late is how much later than it should a timer fires in a process that has stood still.
	late = beatEvery / 2

	// windows is what the windows of all carriers of one who listens may be, but for the least that
	// each one has.
	windows = 32 << 20
)

// Config is what a hub is to be.
type Config struct {
	// Send has the broker take a message for a box, behind all that it was given for that box
	// before. It may wait, for a bounded time. An error ends the carrier.
	Send func(to Box, message []byte) error

	// Most is the most bytes that a message may have: LeastMessage or more.
	Most int

	// Self is where this hub's messages arrive. Its ID is NewID's.
	Self Box

	// Has tells whether the broker has a place where a box may be: what a stranger names is answered
	// in no other. A nil Has is for a broker without places, where all are 0.
	Has func(place uint32) bool

	// Unsent returns how many bytes wait here that Send was given. Nil is for who cannot tell.
	Unsent func() int

	// Accept is told of a carrier that has come in, and must not wait. It reports false if it does
	// not take it. A nil Accept takes none: the hub does not listen.
	Accept func(*Carrier) bool
}

// Hub is the carriers on one connection to a broker. It is safe for concurrent use.
type Hub struct {
	config Config
	most   int
	tasks  sync.WaitGroup
	tell   chan letter   // answers to strangers
	owed   chan struct{} // has one if somebody owes a beat
	closed chan struct{}

	mu       sync.Mutex // guards what follows; a carrier's is never taken under it
	carriers map[ID]*Carrier
	calls    map[ID]*call
	hellos   map[ID]hello
	order    []ID // of hellos, the oldest first
	isClosed bool
	drained  chan struct{} // closed when there is no carrier, if no more are taken; or nil
}

type hello struct {
	box    Box
	theirs int
	ours   int
	at     time.Time
}

type letter struct {
	to Box
	m  message
}

// NewID returns a name that nobody else has or can guess.
func NewID() (id ID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// NewHub makes a hub, which the caller closes.
func NewHub(c Config) *Hub {
	h := &Hub{
		config: c, most: min(c.Most, MaxMessage), tell: make(chan letter, maxTold),
		owed: make(chan struct{}, 1), closed: make(chan struct{}),
		carriers: make(map[ID]*Carrier), calls: make(map[ID]*call), hellos: make(map[ID]hello),
	}
	h.tasks.Go(h.run)
	return h
}

func (h *Hub) send(to Box, m []byte) error { return h.config.Send(to, m) }

// begin runs f on a goroutine that Close waits for. It reports false if the hub has been closed.
func (h *Hub) begin(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isClosed {
		return false
	}
	h.tasks.Go(f)
	return true
}

// Close ends all carriers, without a word to the other side. It waits as long as Config.Send does.
func (h *Hub) Close() {
	h.mu.Lock()
	was := h.isClosed
	h.isClosed = true
	h.mu.Unlock()
	if !was {
		close(h.closed)
	}
	h.Cut(syscall.ECONNRESET)
	h.tasks.Wait()
}

// Cut ends all carriers, for messages have been lost: why is the broker's reason.
func (h *Hub) Cut(why error) {
	if !errors.Is(why, syscall.ECONNRESET) {
		why = errors.Join(why, syscall.ECONNRESET)
	}
	for _, c := range h.all() {
		h.end(c, why, false)
	}
}

func (h *Hub) all() []*Carrier {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*Carrier
	for _, c := range h.carriers {
		all = append(all, c)
	}
	return all
}

// end ends a carrier because of a fault, and tells the other side if say.
func (h *Hub) end(c *Carrier, why error, say bool) {
	c.fail(why)
	h.forget(c)
	if say {
		h.answer(c.to, message{kind: kindCut, carrier: c.id})
	}
}

func (h *Hub) forget(c *Carrier) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.carriers[c.id] != c {
		return
	}
	delete(h.carriers, c.id)
	if h.drained != nil && len(h.carriers) == 0 {
		close(h.drained)
	}
}

// Drain has the hub take no more carriers, and returns what is closed when those that there are
// have ended. It is called once.
func (h *Hub) Drain() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drained = make(chan struct{})
	if len(h.carriers) == 0 {
		close(h.drained)
	}
	return h.drained
}

// answer has something told to a stranger, unless too much is already.
func (h *Hub) answer(to Box, m message) {
	select {
	case h.tell <- letter{to, m}:
	default:
	}
}

// owe has the beats sent that are owed.
func (h *Hub) owe() {
	select {
	case h.owed <- struct{}{}:
	default:
	}
}

// run says what nobody waits for. It is here that it may wait for the broker.
func (h *Hub) run() {
	timer := time.NewTimer(beatEvery / 2)
	defer timer.Stop()
	due := time.Now().Add(beatEvery / 2)
	for {
		select {
		case <-h.closed:
			return
		case l := <-h.tell:
			_ = h.send(l.to, l.m.append(nil))
		case <-h.owed:
			h.beat(h.all(), time.Now())
		case <-timer.C:
			all, now := h.all(), time.Now() // the timer's own time is when it was to fire
			if stood := now.Sub(due); stood > late {
				for _, c := range all {
					c.excuse(stood)
				}
			}
			h.beat(all, now)
			timer.Reset(beatEvery / 2)
			due = time.Now().Add(beatEvery / 2)
		}
	}
}

func (h *Hub) beat(all []*Carrier, now time.Time) {
	for _, c := range all {
		if err := c.beat(now); err != nil {
			h.end(c, err, true)
		}
	}
}

// Receive takes a message that has come to the hub's box, or to the queue's own. It keeps b, and
// waits for nothing.
func (h *Hub) Receive(b []byte) {
	m, err := parse(b)
	if err != nil || !h.has(m.box.Place) {
		return // a stranger's
	}
	switch m.kind {
	case kindHello:
		h.greet(m)
	case kindWelcome:
		h.welcome(m)
	case kindCut:
		h.mu.Lock()
		c := h.carriers[m.carrier]
		h.mu.Unlock()
		if c != nil {
			h.end(c, errCut, false)
		}
	default:
		h.numbered(m)
	}
}

// has tells whether there is such a place. What names none has the first one.
func (h *Hub) has(place uint32) bool {
	return place == 0 || h.config.Has != nil && h.config.Has(place)
}

// greet answers who wants a carrier.
func (h *Hub) greet(m message) {
	if h.config.Accept == nil {
		return
	}
	h.mu.Lock()
	if h.isClosed || h.drained != nil || h.carriers[m.carrier] != nil {
		h.mu.Unlock()
		return
	}
	known, again := h.hellos[m.carrier]
	if again && known.box != m.box {
		h.mu.Unlock()
		return
	}
	now := time.Now()
	if !again {
		h.forgetHellosLocked(now)
		h.order = append(h.order, m.carrier)
		share := windows / (len(h.carriers) + len(h.hellos) + 1)
		known = hello{
			box: m.box, theirs: int(min(m.window, mostWindow)),
			ours: max(min(share, mostWindow), leastWindow),
		}
	}
	known.at = now // he still waits
	h.hellos[m.carrier] = known
	h.mu.Unlock()
	self := h.config.Self
	self.Place = m.box.Place
	h.answer(m.box, message{
		kind: kindWelcome, carrier: m.carrier, box: self, window: uint32(known.ours),
	})
}

// forgetHellosLocked forgets those who do not wait any more, and makes room for one more.
func (h *Hub) forgetHellosLocked(now time.Time) {
	for len(h.order) > 0 {
		known, ok := h.hellos[h.order[0]]
		if ok && len(h.order) < maxHellos && now.Sub(known.at) <= helloFor {
			return
		}
		delete(h.hellos, h.order[0])
		h.order = h.order[1:]
	}
}

// numbered takes a message of a carrier. The first one of who was answered makes it one.
func (h *Hub) numbered(m message) {
	h.mu.Lock()
	c := h.carriers[m.carrier]
	fresh := false
	if c == nil {
		known, ok := h.hellos[m.carrier]
		if !ok || h.isClosed || h.drained != nil || m.number != 0 || time.Since(known.at) > helloFor {
			h.mu.Unlock()
			return
		}
		delete(h.hellos, m.carrier) // and its turn passes
		c = h.newCarrier(m.carrier, known.box, known.theirs, known.ours)
		h.carriers[m.carrier] = c
		fresh = true
	}
	h.mu.Unlock()
	if err := c.receive(m); err != nil {
		h.end(c, err, true)
		return
	}
	if fresh && !h.config.Accept(c) {
		h.end(c, errCut, true)
	}
}

// Missed takes note that nobody reads a box to which this hub has sent something: the broker says
// so.
func (h *Hub) Missed(to Box) {
	h.mu.Lock()
	for _, c := range h.calls {
		select {
		case c.missed <- struct{}{}:
		default:
		}
	}
	h.mu.Unlock()
	if to == (Box{}) {
		return
	}
	for _, c := range h.all() {
		if c.to.ID == to.ID {
			h.end(c, errGone, false)
		}
	}
}

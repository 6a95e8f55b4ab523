package faultnet

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Config says what a link is like. The zero Config is a clean link.
type Config struct {
	// Plan is what goes wrong. Empty means nothing.
	Plan Plan
	// Split makes the splitter of each direction. It is needed where Plan has
	// faults that count messages, and not used otherwise.
	Split func(Direction) Splitter
	// Tap sees all that each direction's sender sent, before any fault, in
	// pieces of any size. It is called from two goroutines, one for each
	// direction, and must not keep or change the bytes. Nil means nobody looks.
	Tap func(Direction, []byte)
	// Buffer is how many bytes each direction holds for a slow receiver, beside
	// bandwidth × delay. 0 means 256 KiB.
	Buffer int
}

// check panics on a config that can not work: a mistake in a test is not to
// look like a fault of what it tests.
func (c Config) check() {
	if err := c.Plan.Validate(); err != nil {
		panic(fmt.Sprintf("faultnet: plan: %v", err))
	}
	aMessage := func(f Fault) bool { return f.Unit == Message }
	if c.Split == nil && slices.ContainsFunc(c.Plan, aMessage) {
		panic("faultnet: a plan that counts messages needs a Split")
	}
}

// Link joins two conns, and lets happen between them what its plan says and
// what is switched by hand. It ends by itself when both ends have ended.
type Link struct {
	// Set once.
	ends  [2]*end // client, server
	lanes [2]*lane
	over  chan struct{} // closed when the link is over
	done  chan struct{} // closed when all it started has ended

	overOnce sync.Once
	wg       sync.WaitGroup // of pumps and drains

	// Guarded by mu.
	mu    sync.Mutex
	parts int // pumps that read and directions that have not ended
	held  bool
	fired []Fault
}

// Join runs a link between two conns, which it owns from then on. Conns should
// have CloseWrite and SetLinger, as *net.TCPConn and *Conn do. A config that
// can not work panics.
func Join(client, server net.Conn, cfg Config) *Link { return join(client, server, cfg, nil) }

// join is Join; before runs when the link is made and nothing has happened on it yet.
func join(client, server net.Conn, cfg Config, before func(*Link)) *Link {
	cfg.check()
	k := &Link{
		ends:  [2]*end{{conn: client}, {conn: server}},
		over:  make(chan struct{}),
		done:  make(chan struct{}),
		parts: 4,
	}
	for dir := range k.lanes {
		k.lanes[dir] = k.newLane(Direction(dir), cfg)
	}
	k.lanes[0].back, k.lanes[1].back = k.lanes[1], k.lanes[0]
	if before != nil {
		before(k)
	}
	for _, l := range k.lanes {
		k.wg.Go(l.pump)
		k.wg.Go(l.drain)
	}
	go k.tidy()
	return k
}

func (k *Link) newLane(dir Direction, cfg Config) *lane {
	l := &lane{
		dir: dir, link: k,
		src: k.ends[dir], dst: k.ends[dir.Other()],
		buffer: cfg.Buffer,
		wake:   make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
	}
	if l.buffer <= 0 {
		l.buffer = defaultBuffer
	}
	if cfg.Tap != nil {
		l.tap = func(p []byte) { cfg.Tap(dir, p) }
	}
	var split Splitter
	if cfg.Split != nil {
		split = cfg.Split(dir)
	}
	l.script = newScript(cfg.Plan, dir, split, l.act, k.record)
	return l
}

// Fired returns the faults that have happened, in the order in which they did.
func (k *Link) Fired() []Fault {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.fired)
}

// BlackHole switches a black hole on or off, in the directions named or in
// both: nothing comes out of the link, not even what is in flight or an end,
// and all of it when the hole is switched off.
func (k *Link) BlackHole(on bool, dirs ...Direction) {
	for _, l := range k.lanes {
		if len(dirs) == 0 || slices.Contains(dirs, l.dir) {
			l.setHole(on)
		}
	}
}

// Cut ends both directions with a FIN, now; what is in flight is lost, and what
// the ends still send is swallowed. A black hole does not hold it up.
func (k *Link) Cut() {
	for _, l := range k.lanes {
		l.cutNow()
	}
}

// Reset ends both directions with a RST, now; what is in flight is lost. A
// black hole does not hold it up.
func (k *Link) Reset() {
	for _, l := range k.lanes {
		l.resetNow()
	}
}

// Close resets the ends that are still open, and returns when all that the link
// started has ended.
func (k *Link) Close() error {
	k.Reset() // before tidy can close them in another way
	k.stop()
	<-k.done
	return nil
}

// Done returns a channel that is closed when the link has ended by itself or
// was closed, and nothing that it started is left.
func (k *Link) Done() <-chan struct{} { return k.done }

// tidy closes the conns when the link is over.
func (k *Link) tidy() {
	<-k.over
	for _, e := range k.ends {
		e.conn.SetReadDeadline(time.Unix(1, 0)) // whoever waits for a late RST
	}
	k.wg.Wait()
	if !k.isHeld() {
		for _, e := range k.ends {
			e.close()
		}
	}
	close(k.done)
}

// part counts off one pump that has read its last, or one direction that has
// ended. With the last of them the link is over.
func (k *Link) part() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.parts--; k.parts == 0 {
		k.stop()
	}
}

// hold keeps the conns open after the link is over, until Close: somebody is
// not to know.
func (k *Link) hold() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = true
}

func (k *Link) isHeld() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held
}

func (k *Link) record(f Fault) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fired = append(k.fired, f)
}

func (k *Link) stop() { k.overOnce.Do(func() { close(k.over) }) }

func (k *Link) stopped() bool {
	select {
	case <-k.over:
		return true
	default:
		return false
	}
}

// wait waits for c, or for d if that is not negative; it returns false when the
// link is over.
func (k *Link) wait(c <-chan struct{}, d time.Duration) bool {
	var timeout <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-k.over:
		return false
	case <-c:
	case <-timeout:
	}
	return true
}

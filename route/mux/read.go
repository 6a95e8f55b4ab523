package mux

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

// A mux in which nothing goes on has nobody who waits for its carrier but with the smallest of
// stacks, where the carrier can: a relay has a mux for each name. While something goes on, or has
// just now, one goroutine reads: to begin one for each frame would cost more than it saves.
const (
	// calmLinks is how many links there may be in a mux in which nothing goes on: the first one
	// often is there for as long as the mux.
	calmLinks = 1
	// calmAfter is how long there have been no more.
	calmAfter = 5 * time.Second
)

// calm is whether nothing goes on in a mux. mu is taken after the mux's, never before.
type calm struct {
	on    bool        // who reads does so with ReadThen; guarded by the mux
	busy  bool        // guarded by the mux
	timer *time.Timer // guarded by the mux; nil before it has ever been busy

	mu   sync.Mutex
	woke bool // the reader has been given a deadline, only to look
}

func (c *calm) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

func (m *Mux) busyLocked() { m.calm.busy = m.calm.busy || len(m.links) > calmLinks }

// calmLaterLocked sees to it that the mux is calm when there have been few links for a while.
func (m *Mux) calmLaterLocked() {
	if !m.calm.on || !m.calm.busy || m.links == nil || len(m.links) > calmLinks {
		return
	}
	if m.calm.timer == nil {
		m.calm.timer = time.AfterFunc(calmAfter, m.becomeCalm)
		return
	}
	m.calm.timer.Reset(calmAfter)
}

// becomeCalm has the reader look whether it can wait elsewhere.
func (m *Mux) becomeCalm() {
	m.mu.Lock()
	calm := m.calm.busy && m.links != nil && len(m.links) <= calmLinks
	if calm {
		m.calm.busy = false
	}
	m.mu.Unlock()
	c, ok := m.carrier.(interface{ SetReadDeadline(time.Time) error })
	if !calm || !ok {
		return
	}
	m.calm.mu.Lock()
	defer m.calm.mu.Unlock()
	m.calm.woke = true
	_ = c.SetReadDeadline(time.Unix(1, 0))
}

// isCalm tells whether nothing goes on.
func (m *Mux) isCalm() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.calm.busy
}

// tookDeadline takes the deadline away that has had the reader look, and reports whether there was
// one.
func (m *Mux) tookDeadline() bool {
	m.calm.mu.Lock()
	defer m.calm.mu.Unlock()
	if !m.calm.woke {
		return false
	}
	m.calm.woke = false
	_ = m.carrier.(interface{ SetReadDeadline(time.Time) error }).SetReadDeadline(time.Time{})
	return true
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Read reads the carrier until the mux has ended. It is called once, by an owner that has said so
// with Config.Reads, unless that calls ReadThen.
func (m *Mux) Read() {
	defer close(m.read)
	in := input{mux: m}
	for m.readOnce(&in) {
	}
}

// ReadThen is Read, but may return before the mux has ended, while nothing goes on in it. It calls
// then when it has, once.
func (m *Mux) ReadThen(then func()) {
	m.mu.Lock()
	m.calm.on = true
	m.mu.Unlock()
	m.readOn(&input{mux: m}, then)
}

func (m *Mux) readOn(in *input, then func()) {
	for {
		m.tookDeadline()
		if m.isCalm() && netio.Park(m.carrier, func() { m.arrived(in, then) }) {
			return
		}
		if !m.readOnce(in) {
			break
		}
	}
	close(m.read)
	then()
}

// arrived is readOn where there is something to read.
func (m *Mux) arrived(in *input, then func()) {
	if m.tookDeadline() || m.readOnce(in) {
		m.readOn(in, then)
		return
	}
	close(m.read)
	then()
}

// readOnce waits for something to read, and handles it. It reports false when the mux has ended.
func (m *Mux) readOnce(in *input) bool {
	var room netio.PooledRoom
	n, err := netio.ReadLazy(m.carrier, &room)
	if err == nil {
		err = in.feed(room.Filled(n))
	}
	room.Release()
	if err == nil || isTimeout(err) && m.tookDeadline() {
		return true
	}
	if errors.Is(err, errProtocol) {
		_ = m.out.say(header{kind: typeGoAway, length: goAwayProtocol})
	}
	if err == io.EOF {
		err = errEnded
	}
	m.fail(err)
	return false
}

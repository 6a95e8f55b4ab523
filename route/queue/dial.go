package queue

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/pause"
)

// Dialing is whom a dialer takes. The zero value is whoever answers first.
type Dialing struct {
	// Known is who is asked first, and the only one who is listened to until he has had his time.
	// The zero Box is nobody.
	Known Box

	// Doubted tells of a box that its answer counts if nobody else answers. It must not wait. A nil
	// Doubted is nobody.
	Doubted func(Box) bool
}

// call is a dialer that waits for an answer. A hub's mu guards what changes.
type call struct {
	wanted  Box // who may answer; the zero Box is all
	doubted func(Box) bool
	second  *message      // an answer of somebody who is doubted
	answer  chan message  // has the one that is taken
	missed  chan struct{} // has one if nobody has got the hello
}

// Dial makes a carrier to one who listens: to him who is known, if he answers soon, or else to the
// first who does. It returns the box of who has answered as well.
func (h *Hub) Dial(ctx context.Context, d Dialing) (*Carrier, Box, error) {
	if !h.has(d.Known.Place) {
		d.Known = Box{} // the broker has been changed since
	}
	id := NewID()
	c := &call{
		wanted: d.Known, doubted: d.Doubted,
		answer: make(chan message, 1), missed: make(chan struct{}, 1),
	}
	h.mu.Lock()
	h.calls[id] = c
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.calls, id)
	}()
	m := message{kind: kindHello, carrier: id, box: h.config.Self, window: mostWindow}
	answer, err := h.call(ctx, c, m)
	if err != nil {
		return nil, Box{}, err
	}
	made := h.newCarrier(id, answer.box, int(answer.window), mostWindow)
	h.mu.Lock()
	h.carriers[id] = made
	h.mu.Unlock()
	if err := made.send(kindBeat, nil); err != nil {
		h.forget(made)
		return nil, Box{}, err
	}
	return made, answer.box, nil
}

// welcome takes an answer to a hello.
func (h *Hub) welcome(m message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.calls[m.carrier]
	switch {
	case c == nil:
		return
	case c.wanted != Box{}:
		// Only he was asked: who else answers has read what was for another one.
		if m.box.ID != c.wanted.ID {
			return
		}
	case c.doubted != nil && c.doubted(m.box):
		if c.second == nil {
			c.second = &m
		}
		return
	}
	select {
	case c.answer <- m:
	default: // somebody else was faster
	}
}

// askAll has a call be answered by whoever listens, and returns the answer that is there by then
// for want of a better one.
func (h *Hub) askAll(c *call) *message {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.wanted = Box{}
	return c.second
}

// call says hello until somebody answers.
func (h *Hub) call(ctx context.Context, c *call, m message) (message, error) {
	timer := time.NewTimer(helloEvery)
	defer timer.Stop()
	to := c.wanted
	for unread := 0; ; {
		if err := h.send(to, m.append(nil)); err != nil {
			return message{}, err
		}
		timer.Reset(helloEvery)
		select {
		case a := <-c.answer:
			return a, nil
		case <-c.missed:
			if to == (Box{}) {
				unread++
			}
			if unread >= misses {
				return message{}, errNobody
			}
			if to == (Box{}) && !pause.For(ctx, missPause) {
				return message{}, context.Cause(ctx)
			}
			h.askAll(c)
		case <-timer.C:
			if second := h.askAll(c); second != nil {
				return *second, nil
			}
		case <-ctx.Done():
			return message{}, ErrNoAnswer
		case <-h.closed:
			return message{}, syscall.ECONNRESET
		}
		to = Box{} // whoever listens
	}
}

// Why nobody has answered a hello.
var (
	// ErrNoAnswer says that whoever listens has not done so in time.
	ErrNoAnswer = errors.Join(
		errors.New("nobody answers at the queue there"), context.DeadlineExceeded)

	errNobody = errors.New("nobody listens at the queue there: is the other side running, and " +
		"does it listen at the same broker?")
)

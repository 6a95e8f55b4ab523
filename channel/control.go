package channel

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/netio"
)

// control is the session's own link, on which records of flow 0 pass.
type control struct {
	link    *link
	receive cipherHalf  // owned by whoever reads, or glances at what has come
	end     func(error) // ends the session: nothing more can be said
	broken  atomic.Bool // something could not be said

	// turn is full while somebody writes, who owns what follows: a lock that one need not wait for.
	turn chan struct{}
	send cipherHalf
	out  output
	err  error // permanent: part of a record may be on its way
}

func newControl(l *link, end func(error)) control {
	return control{link: l, end: end, turn: make(chan struct{}, 1)}
}

// done ends a turn.
func (c *control) done() { <-c.turn }

// tryTake takes a turn if nobody else has it, and something can be said.
func (c *control) tryTake() bool {
	select {
	case c.turn <- struct{}{}:
	default:
		return false
	}
	if c.err != nil {
		c.done()
		return false
	}
	return true
}

// tryTurn takes a turn if nobody else has it and the link takes a record without waiting.
func (c *control) tryTurn() bool {
	if !c.tryTake() {
		return false
	}
	if !c.link.TakesMore() {
		c.done()
		return false
	}
	return true
}

// write sends a record, and waits for the socket to take it no longer than controlTimeout.
func (c *control) write(t recordType, data []byte) error {
	c.turn <- struct{}{}
	defer c.done()
	return c.writeLocked(t, data, controlTimeout)
}

// writeThenSwitch sends a record, and what follows it with new keys.
func (c *control) writeThenSwitch(t recordType, data []byte, next cipherHalf) error {
	c.turn <- struct{}{}
	defer c.done()
	err := c.writeLocked(t, data, controlTimeout)
	c.send = next
	return err
}

// writeReadyTwice says ready, and again with new keys before anything else.
func (c *control) writeReadyTwice(next cipherHalf) error {
	c.turn <- struct{}{}
	defer c.done()
	if err := c.writeLocked(typeReady, nil, controlTimeout); err != nil {
		return err
	}
	c.send = next
	return c.writeLocked(typeReady, nil, controlTimeout)
}

// say is write. A failure ends the session.
func (c *control) say(t recordType, data []byte) {
	if err := c.write(t, data); err != nil {
		c.fail(err)
	}
}

// sayNow is say for who has a turn and must not wait: it is the end of that. What the link does not
// take at once is said by a goroutine, which run begins.
func (c *control) sayNow(t recordType, data []byte, run func(func())) {
	b, err := c.out.one(&c.send, nil, t, data)
	if err == nil {
		b = b[c.link.WriteNow(b):]
	}
	if err == nil && len(b) == 0 {
		c.out.Release()
		c.done()
		return
	}
	c.sayRest(b, err, run)
}

// sayRest is sayNow of what is left.
func (c *control) sayRest(b []byte, err error, run func(func())) {
	run(func() {
		if err == nil {
			err = c.put(b, controlTimeout)
		}
		c.out.Release()
		err = linkError(err)
		c.err = err
		c.done()
		if err != nil {
			c.fail(err)
		}
	})
}

// fail ends the session because of err. But where the link is broken the far end may have said why
// it is gone, so the reading goroutine has a moment to find out, once.
func (c *control) fail(err error) {
	switch {
	case !errors.Is(err, ErrCut):
		c.end(err)
	case c.broken.CompareAndSwap(false, true):
		_ = c.link.SetReadDeadline(time.Now().Add(abortTimeout))
	}
}

// words are a record that is to be said.
type words struct {
	t    recordType
	data []byte
}

// sendClose sends the last record, behind others. It gives up when the link does not take one, or
// what is being said already, for abortTimeout.
func (c *control) sendClose(reason abortReason, before []words) {
	timeout := time.NewTimer(abortTimeout)
	defer timeout.Stop()
	select {
	case c.turn <- struct{}{}:
	case <-timeout.C:
		return
	}
	defer c.done()
	for _, w := range before {
		_ = c.writeLocked(w.t, w.data, abortTimeout)
	}
	_ = c.writeLocked(typeAbort, []byte{byte(reason)}, abortTimeout)
	if c.err == nil {
		c.err = ErrClosed
	}
}

// close tells the far end why the session ends, where that helps it, and closes the link. Flows
// that were cut have been told on their own links. The others may have last bytes on the way, which
// the far end must not throw away. Before that, it is told what else there is to know.
func (c *control) close(err error, before []words) {
	reason := abortGoingAway
	switch {
	case errors.Is(err, trust.ErrNotTrusted):
		reason = abortNotTrusted
	case errors.Is(err, ErrForged), errors.Is(err, ErrProtocol):
		reason = abortProtocol
	case errors.Is(err, ErrCut), errors.Is(err, ErrMissedPongs):
		_ = netio.Reset(c.link.Conn)
		return
	}
	c.sendClose(reason, before)
	_ = c.link.Conn.Close()
}

func (c *control) writeLocked(t recordType, data []byte, timeout time.Duration) error {
	if c.err != nil {
		return c.err
	}
	defer c.out.Release()
	b, err := c.out.one(&c.send, nil, t, data)
	if err == nil {
		err = c.put(b, timeout)
	}
	c.err = linkError(err)
	return c.err
}

// put writes, for as long as timeout.
func (c *control) put(b []byte, timeout time.Duration) error {
	_ = c.link.SetWriteDeadline(time.Now().Add(timeout))
	_, err := c.link.Write(b)
	_ = c.link.SetWriteDeadline(time.Time{}) // or it would wake the process for nothing
	return err
}

// next returns the next record if all of it has been read, and reports whether it has. The data is
// valid until fill.
func (c *control) next() (t recordType, data []byte, some bool, err error) {
	body, err := c.link.in.record(maxBody)
	if body == nil || err != nil {
		return 0, nil, false, err
	}
	t, data, err = c.receive.open(body)
	return t, data, err == nil, err
}

// read waits for the next record. The data is valid until the next call.
func (c *control) read() (recordType, []byte, error) {
	for {
		t, data, some, err := c.next()
		if some || err != nil {
			return t, data, err
		}
		if err := c.fill(); err != nil {
			return 0, nil, err
		}
	}
}

// fill reads once, waiting if need be.
func (c *control) fill() error { return linkError(c.link.in.fill(c.link)) }

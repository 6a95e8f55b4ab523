package channel

import "time"

// control is the session's own link, on which records of flow 0 pass.
type control struct {
	chain   *chain
	receive cipherHalf // owned by the reading goroutine

	turn chan struct{} // full while somebody writes, who owns what follows: a mutex that one need not wait for
	send cipherHalf
	out  output
	err  error // permanent: part of a record may be on its way
}

// done ends a turn.
func (c *control) done() { <-c.turn }

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

// lastWord sends a record after which nothing more can be said. It gives up when the link does not take it, or what is
// being said already, for abortTimeout.
func (c *control) lastWord(t recordType, data ...byte) {
	timeout := time.NewTimer(abortTimeout)
	defer timeout.Stop()
	select {
	case c.turn <- struct{}{}:
	case <-timeout.C:
		return
	}
	defer c.done()
	_ = c.writeLocked(t, data, abortTimeout)
	if c.err == nil {
		c.err = ErrClosed
	}
}

func (c *control) writeLocked(t recordType, data []byte, timeout time.Duration) error {
	if c.err != nil {
		return c.err
	}
	defer c.out.Release()
	b, err := c.out.one(&c.send, nil, t, data)
	if err == nil {
		_ = c.chain.conn.SetWriteDeadline(time.Now().Add(timeout))
		_, err = c.chain.conn.Write(b)
	}
	c.err = linkError(err)
	return c.err
}

// read returns the next record. The data is valid until the next call.
func (c *control) read() (recordType, []byte, error) {
	for {
		body, err := c.chain.in.record(maxBody)
		if err != nil {
			return 0, nil, err
		}
		if body != nil {
			return c.receive.open(body)
		}
		if err := c.chain.in.fill(); err != nil {
			return 0, nil, linkError(err)
		}
	}
}

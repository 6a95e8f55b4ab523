package faultnet

import (
	"net"
	"sync"
	"time"
)

// settleTime is how long a RST waits for what was written before it to arrive.
const settleTime = time.Second

// end is the link's side of one of its two conns.
type end struct {
	conn net.Conn
	once sync.Once // of close and reset
}

func (e *end) closeWrite() {
	if c, ok := e.conn.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
}

func (e *end) close() { e.once.Do(func() { e.conn.Close() }) }

// reset closes the conn with a RST.
func (e *end) reset() {
	e.once.Do(func() {
		if c, ok := e.conn.(interface{ SetLinger(sec int) error }); ok {
			c.SetLinger(0)
		}
		e.conn.Close()
	})
}

// settle waits until the kernel has delivered all that was written to the conn,
// because a RST throws the rest away.
func (e *end) settle(over <-chan struct{}) {
	c, ok := e.conn.(*net.TCPConn)
	if !ok {
		return
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(settleTime); unsent(c) > 0 && time.Now().Before(until); {
		select {
		case <-over:
			return
		case <-tick.C:
		}
	}
}

// waitReset waits, after the FIN of the conn, for a RST. It returns false when
// the conn is closed or its read deadline passes.
func (e *end) waitReset() bool {
	switch c := e.conn.(type) {
	case *net.TCPConn:
		return waitReset(c)
	case *Conn:
		return c.rd.waitReset()
	}
	return false
}

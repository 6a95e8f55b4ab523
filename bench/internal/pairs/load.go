//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

const (
	down, up = 'd', 'u'
	piece    = 256 << 10 // of a write or a read
	headSize = 1 + 8
)

// load is how many streams go which way.
type load struct {
	streams int
	way     byte
}

func parseLoad(s string) (l load, err error) {
	if _, err = fmt.Sscanf(s, "%d%c", &l.streams, &l.way); err != nil {
		return l, fmt.Errorf("%q: %w", s, err)
	}
	if l.streams < 1 || l.way != up && l.way != down {
		return l, fmt.Errorf("%q: want a number of streams, and u or d", s)
	}
	return l, nil
}

func (l load) String() string { return fmt.Sprintf("%d%c", l.streams, l.way) }

// move has n bytes go the load's way on a connection, and returns when they have come.
func (l load) move(c net.Conn, n int64) error {
	head := binary.BigEndian.AppendUint64([]byte{l.way}, uint64(n))
	if _, err := c.Write(head); err != nil {
		return err
	}
	if l.way == down {
		return take(c, n)
	}
	if err := give(c, n); err != nil {
		return err
	}
	return take(c, 1)
}

// serve does what is asked on the connections that come, one after the other on each.
func serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			for err := error(nil); err == nil; {
				err = answer(c)
			}
		}()
	}
}

func answer(c net.Conn) error {
	var head [headSize]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint64(head[1:]))
	if head[0] == down {
		return give(c, n)
	}
	if err := take(c, n); err != nil {
		return err
	}
	return give(c, 1)
}

func give(c net.Conn, n int64) error {
	for b := make([]byte, piece); n > 0; n -= piece {
		if _, err := c.Write(b[:min(n, piece)]); err != nil {
			return err
		}
	}
	return nil
}

func take(c net.Conn, n int64) error {
	for b := make([]byte, piece); n > 0; {
		m, err := c.Read(b[:min(n, piece)])
		if n -= int64(m); err != nil && n > 0 {
			return err
		}
	}
	return nil
}

//go:build linux

package load

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	idleDialers = 16 // connections made or asked at once
	idleTimeout = 10 * time.Second
	checkTime   = time.Minute // for all to answer
	enough      = 16          // failures, after which no more connections are tried
)

var errEnough = errors.New("not tried after so many failures")

// Idle is connections that are open, have each had one byte there and back, and
// then do nothing.
type Idle struct {
	conns []*net.TCPConn
}

// Grow adds connections until there are n. After some failures it gives up, and
// keeps what it has.
func (p *Idle) Grow(ctx context.Context, addr string, n int) error {
	made := make([]*net.TCPConn, n-len(p.conns))
	first := len(p.conns)
	var failed atomic.Int64
	err := inParallel(len(made), func(i int) error {
		if failed.Load() >= enough {
			return errEnough
		}
		conn, err := dial(ctx, addr, first+i)
		if err != nil {
			failed.Add(1)
			return err
		}
		if err := ask(conn, time.Now().Add(idleTimeout)); err != nil {
			failed.Add(1)
			conn.Close()
			return err
		}
		made[i] = conn
		return nil
	})
	for _, conn := range made {
		if conn != nil {
			p.conns = append(p.conns, conn)
		}
	}
	return err
}

// Len is how many are open.
func (p *Idle) Len() int { return len(p.conns) }

// Lost asks every connection for one byte more and says how many do not answer.
func (p *Idle) Lost() int {
	var lost atomic.Int64
	end := time.Now().Add(checkTime)
	inParallel(len(p.conns), func(i int) error {
		err := ask(p.conns[i], end)
		if err != nil {
			lost.Add(1)
		}
		return err
	})
	return int(lost.Load())
}

// Close closes them all.
func (p *Idle) Close() {
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}

func ask(conn *net.TCPConn, deadline time.Time) error {
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	return trip(conn, []byte{modeEcho})
}

// inParallel calls do for 0 to n-1, idleDialers at once, and returns how many
// failed and the first reason.
func inParallel(n int, do func(i int) error) error {
	next := make(chan int)
	errs := make(chan error, n)
	var workers sync.WaitGroup
	for range min(n, idleDialers) {
		workers.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					errs <- err
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	close(errs)
	if len(errs) == 0 {
		return nil
	}
	return &failures{count: len(errs), of: n, first: <-errs}
}

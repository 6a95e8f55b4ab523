//go:build linux

package load

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A Churn makes new connections: connect, one byte there and back, close.
type Churn struct {
	AtOnce int
	Count  int           // at most
	Limit  time.Duration // at most
}

// Run returns how many connections it made and in what time.
func (c Churn) Run(ctx context.Context, addr string) (made int, took time.Duration, err error) {
	var next, done atomic.Int64
	errs := make([]error, c.AtOnce)
	began := time.Now()
	var workers sync.WaitGroup
	for w := range c.AtOnce {
		workers.Go(func() {
			for time.Since(began) < c.Limit {
				i := int(next.Add(1))
				if i > c.Count {
					return
				}
				if errs[w] = Probe(ctx, addr, i); errs[w] != nil {
					return
				}
				done.Add(1)
			}
		})
	}
	workers.Wait()
	return int(done.Load()), time.Since(began), errors.Join(errs...)
}

// Probe is one such connection, the i-th.
func Probe(ctx context.Context, addr string, i int) error {
	conn, err := dial(ctx, addr, i)
	if err != nil {
		return err
	}
	defer conn.Close()
	return trip(conn, []byte{modeEcho})
}

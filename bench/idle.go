//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/secureportal/sp/bench/internal/load"
	"github.com/secureportal/sp/bench/internal/proc"
	"github.com/secureportal/sp/bench/internal/report"
)

// idle opens more and more connections that do nothing.
func (m *meter) idle() error {
	base, err := m.settled()
	if err != nil {
		return err
	}
	var pool load.Idle
	defer pool.Close()
	for _, n := range m.effort().idle {
		n = min(n, m.session.maxIdle)
		if m.topology.IdleMax > 0 && n > m.topology.IdleMax {
			return nil
		}
		if n <= pool.Len() { // the limit of descriptors is below the last size already
			return nil
		}
		if err := m.idleAt(&pool, base, n); err != nil {
			return err
		}
	}
	return nil
}

// idleAt measures at n connections and then asks every one whether it is there.
func (m *meter) idleAt(pool *load.Idle, base proc.Memory, n int) error {
	more := n - pool.Len()
	var growErr error
	spent, err := m.cost(func() error {
		growErr = pool.Grow(m.ctx, m.running.Entry, n)
		return nil
	})
	if err != nil {
		return err
	}
	if growErr != nil {
		return errors.Join(growErr, m.lost(pool, n))
	}
	m.add(report.IdleConn, n, each(spent, more))
	now, err := m.settled()
	if err != nil {
		return err
	}
	m.add(report.IdleRSS, n, float64(now.RSS-base.RSS)/float64(n))
	m.add(report.IdlePSS, n, float64(now.PSS-base.PSS)/float64(n))
	trips, err := m.trips(m.effort().idleTrips)
	if err != nil {
		return err
	}
	m.add(report.IdleTrip, n, micros(report.Percentile(trips, 0.5)))
	return m.lost(pool, n)
}

// lost counts those of n connections that were not made or do not answer. It
// says nothing if the tunnel was ended for taking too long.
func (m *meter) lost(pool *load.Idle, n int) error {
	lost := n - pool.Len() + pool.Lost()
	if err := m.ctx.Err(); err != nil {
		return err
	}
	m.add(report.IdleLost, n, float64(lost))
	if lost > 0 {
		return fmt.Errorf("%d of %d idle connections do not answer", lost, n)
	}
	return nil
}

// settled is the memory after a while in which nothing happens.
func (m *meter) settled() (proc.Memory, error) {
	select {
	case <-m.ctx.Done():
		return proc.Memory{}, m.ctx.Err()
	case <-time.After(m.effort().settle):
	}
	return m.running.Memory()
}

//go:build linux

package main

import (
	"time"

	"github.com/secureportal/sp/bench/internal/load"
	"github.com/secureportal/sp/bench/internal/proc"
	"github.com/secureportal/sp/bench/internal/report"
)

const (
	leastFactor = 2 // at least so many times what the warm-up moves
	mostBytes   = 8 << 30
)

// moved is what a transfer took.
type moved struct {
	bytes int64
	took  time.Duration
	cpu   proc.CPU
}

func (v moved) perGiB(d time.Duration) float64 { return d.Seconds() * gib / float64(v.bytes) }

func (v moved) gbit() float64 { return float64(v.bytes) * 8 / v.took.Seconds() / 1e9 }

// transfers measures CPU and throughput at each number of streams, up and down.
func (m *meter) transfers(streams []int) error {
	for _, n := range streams {
		up, err := m.transfer(load.Transfer{Up: true, Streams: n}, m.effort().transfer)
		if err != nil {
			return err
		}
		m.add(report.GbitUp, n, up.gbit())
		down, err := m.transfer(load.Transfer{Streams: n}, m.effort().transfer)
		if err != nil {
			return err
		}
		m.add(report.GbitDown, n, down.gbit())
		if len(m.topology.Needs) == 0 {
			continue // no processes, no CPU
		}
		m.add(report.CPUUp, n, up.perGiB(up.cpu.Total))
		m.add(report.UserUp, n, up.perGiB(up.cpu.User))
		m.add(report.CPUDown, n, down.perGiB(down.cpu.Total))
		m.add(report.UserDown, n, down.perGiB(down.cpu.User))
	}
	return nil
}

// far measures how much of a long line one stream uses.
func (m *meter) far() error {
	up, err := m.transfer(load.Transfer{Up: true, Streams: 1}, m.effort().far)
	if err != nil {
		return err
	}
	m.add(report.FarUp, 1, up.gbit())
	down, err := m.transfer(load.Transfer{Streams: 1}, m.effort().far)
	if err != nil {
		return err
	}
	m.add(report.FarDown, 1, down.gbit())
	return nil
}

// transfer warms up with a little and moves as much as that says will take the
// time that is wanted.
func (m *meter) transfer(t load.Transfer, want time.Duration) (moved, error) {
	t.Bytes = m.effort().warmup
	took, err := t.Run(m.ctx, m.running.Entry)
	if err != nil {
		return moved{}, err
	}
	t.Bytes = min(max(inTime(t.Bytes, took, want), leastFactor*t.Bytes), mostBytes)
	return m.move(t)
}

func (m *meter) move(t load.Transfer) (moved, error) {
	v := moved{bytes: t.Bytes / int64(t.Streams) * int64(t.Streams)}
	var err error
	v.cpu, err = m.cost(func() error {
		var err error
		v.took, err = t.Run(m.ctx, m.running.Entry)
		return err
	})
	return v, err
}

// inTime is how much fits into want when n took so long.
func inTime(n int64, took, want time.Duration) int64 {
	return int64(float64(n) * want.Seconds() / took.Seconds())
}

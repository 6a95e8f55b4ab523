//go:build linux

package main

import (
	"context"
	"slices"
	"time"

	"github.com/secureportal/sp/bench/internal/load"
	"github.com/secureportal/sp/bench/internal/proc"
	"github.com/secureportal/sp/bench/internal/report"
	"github.com/secureportal/sp/bench/internal/topology"
)

const (
	gib         = 1 << 30
	requestSize = 1024
)

// A meter measures one running topology in one repetition.
type meter struct {
	ctx      context.Context
	session  *session
	topology topology.Topology
	running  *topology.Running
	rep      int
}

func (m *meter) effort() effort { return m.session.o.effort }

func (m *meter) add(metric string, x int, value float64) {
	m.session.results.Add(report.Key{Topology: m.topology.Name, Metric: metric, X: x}, m.rep, value)
}

// cost is the CPU time that the tunnel's processes use while do runs.
func (m *meter) cost(do func() error) (proc.CPU, error) {
	before, err := m.running.CPU()
	if err != nil {
		return proc.CPU{}, err
	}
	if err := do(); err != nil {
		return proc.CPU{}, err
	}
	after, err := m.running.CPU()
	return after.Sub(before), err
}

// trips are sorted round trips of 1 KiB.
func (m *meter) trips(count int) ([]time.Duration, error) {
	trips, err := load.RoundTrips(m.ctx, m.running.Entry, requestSize, count, m.effort().tripTime)
	slices.Sort(trips)
	return trips, err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

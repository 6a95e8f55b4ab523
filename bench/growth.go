//go:build linux

package main

import (
	"github.com/secureportal/sp/bench/internal/load"
	"github.com/secureportal/sp/bench/internal/report"
)

// warmupWrites tells how many of a size fit into the time of a transfer.
const warmupWrites = 500

// sizes uploads with writes of each size.
func (m *meter) sizes() error {
	for _, size := range m.effort().writes {
		t := load.Transfer{Up: true, Streams: 1, Write: size, Bytes: int64(warmupWrites * size)}
		took, err := t.Run(m.ctx, m.running.Entry)
		if err != nil {
			return err
		}
		t.Bytes = min(max(inTime(t.Bytes, took, m.effort().transfer), t.Bytes), mostBytes)
		v, err := m.move(t)
		if err != nil {
			return err
		}
		m.add(report.SizeGbit, size, v.gbit())
		if len(m.topology.Needs) > 0 {
			m.add(report.SizeCPU, size, micros(v.cpu.Total)*float64(size)/float64(v.bytes))
		}
	}
	return nil
}

// familyMetrics are the names of what is measured of a family.
type familyMetrics struct{ cpu, gbit, trip, conn string }

var (
	hopMetrics  = familyMetrics{report.HopCPU, report.HopGbit, report.HopTrip, report.HopConn}
	nestMetrics = familyMetrics{report.NestCPU, report.NestGbit, report.NestTrip, report.NestConn}
)

// member measures a little of everything, of the family's topology with n.
func (m *meter) member(names familyMetrics, n int) error {
	up, err := m.transfer(load.Transfer{Up: true, Streams: 1}, m.effort().transfer)
	if err != nil {
		return err
	}
	down, err := m.transfer(load.Transfer{Streams: 1}, m.effort().transfer)
	if err != nil {
		return err
	}
	m.add(names.cpu, n, (up.perGiB(up.cpu.Total)+down.perGiB(down.cpu.Total))/2)
	m.add(names.gbit, n, (up.gbit()+down.gbit())/2)
	trips, err := m.trips(m.effort().trips)
	if err != nil {
		return err
	}
	m.add(names.trip, n, micros(report.Percentile(trips, 0.5)))
	rate, _, err := m.churn(1)
	if err != nil {
		return err
	}
	m.add(names.conn, n, rate)
	return nil
}

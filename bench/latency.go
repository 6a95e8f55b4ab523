//go:build linux

package main

import (
	"errors"
	"os"
	"time"

	"github.com/secureportal/sp/bench/internal/proc"
	"github.com/secureportal/sp/bench/internal/report"
)

// latency measures a small request alone, and beside a bulk transfer each way.
func (m *meter) latency() error {
	if err := m.percentiles(report.Trip); err != nil || !m.effort().loaded {
		return err
	}
	if err := m.beside(report.TripBesideUp, "-up"); err != nil {
		return err
	}
	return m.beside(report.TripBesideDn, "-up=false")
}

func (m *meter) percentiles(metric string) error {
	trips, err := m.trips(m.effort().trips)
	if err != nil {
		return err
	}
	for _, p := range []int{report.P50, report.P99, report.P999} {
		m.add(metric, p, micros(report.Percentile(trips, float64(p)/1000)))
	}
	return nil
}

// beside has another process move bytes through the tunnel meanwhile.
func (m *meter) beside(metric, direction string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(m.session.kit.Dir, "bulk-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bulk := &proc.Set{Dir: dir}
	defer func() { err = errors.Join(err, bulk.Close()) }()
	p, err := bulk.Start(nil, self,
		"bulk", "-to", m.running.Entry, direction, "-for", jobTimeout.String())
	if err != nil {
		return err
	}
	if _, err := p.FirstLine(m.ctx); err != nil {
		return err
	}
	time.Sleep(m.effort().bulkStart)
	if err := m.percentiles(metric); err != nil {
		return err
	}
	if _, ended := bulk.Ended(); ended {
		return errors.New("the bulk transfer did not last" + bulk.Log())
	}
	return nil
}

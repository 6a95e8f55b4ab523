//go:build linux

package main

import (
	"errors"
	"time"

	"github.com/secureportal/sp/bench/internal/load"
	"github.com/secureportal/sp/bench/internal/proc"
	"github.com/secureportal/sp/bench/internal/report"
)

const warmupConns = 50

// connections measures new ones, one at a time and 32 at once.
func (m *meter) connections() error {
	for _, n := range []int{1, 32} {
		rate, cpu, err := m.churn(n)
		if err != nil {
			return err
		}
		m.add(report.ConnRate, n, rate)
		if len(m.topology.Needs) > 0 {
			m.add(report.ConnCPU, n, cpu)
		}
	}
	return nil
}

// churn returns connections a second and CPU milliseconds each.
func (m *meter) churn(atOnce int) (rate, cpu float64, err error) {
	warmup := load.Churn{AtOnce: atOnce, Count: warmupConns, Limit: m.effort().churnTime}
	if _, _, err := warmup.Run(m.ctx, m.running.Entry); err != nil {
		return 0, 0, err
	}
	c := load.Churn{AtOnce: atOnce, Count: m.effort().churn, Limit: m.effort().churnTime}
	var made int
	var took time.Duration
	spent, err := m.cost(func() error {
		var err error
		made, took, err = c.Run(m.ctx, m.running.Entry)
		return err
	})
	if err == nil && made == 0 {
		err = errors.New("no connection was made in time")
	}
	if err != nil {
		return 0, 0, err
	}
	return float64(made) / took.Seconds(), each(spent, made), nil
}

func each(spent proc.CPU, n int) float64 { return millis(spent.Total) / float64(n) }

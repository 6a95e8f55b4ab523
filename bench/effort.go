//go:build linux

package main

import "time"

// effort is how long and how much is measured.
type effort struct {
	warmup    int64         // bytes before each measured transfer
	transfer  time.Duration // of each measured transfer, about
	far       time.Duration // of each over a long line, whose start is slow
	trips     int           // round trips, at most
	tripTime  time.Duration // for them, at most
	loaded    bool          // whether they are measured beside a bulk transfer, too
	bulkStart time.Duration // how long that transfer gets to reach its speed
	churn     int           // new connections, at most
	churnTime time.Duration // for them, at most
	settle    time.Duration // before memory is read
	idle      []int         // connections
	idleTrips int           // round trips beside them
	streams   []int
	writes    []int // bytes
	hops      []int
	nested    []int
}

const (
	bulkStart = 300 * time.Millisecond
	idleTrips = 500
)

var full = effort{
	warmup:    32 << 20,
	transfer:  2 * time.Second,
	far:       6 * time.Second,
	trips:     20_000,
	tripTime:  3 * time.Second,
	loaded:    true,
	bulkStart: bulkStart,
	churn:     3000,
	churnTime: 3 * time.Second,
	settle:    3 * time.Second,
	idle:      []int{10, 100, 1000, 5000, 10_000},
	idleTrips: idleTrips,
	streams:   []int{1, 2, 4, 8, 16, 32, 64},
	writes:    []int{1, 16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20},
	hops:      []int{1, 2, 4, 8},
	nested:    []int{0, 1, 2, 3, 4},
}

var quickly = effort{
	warmup:    32 << 20,
	transfer:  300 * time.Millisecond,
	far:       2 * time.Second,
	trips:     3000,
	tripTime:  time.Second,
	loaded:    true,
	bulkStart: bulkStart,
	churn:     500,
	churnTime: time.Second,
	settle:    500 * time.Millisecond,
	idle:      []int{10, 100, 1000},
	idleTrips: idleTrips,
	streams:   []int{1, 4, 16, 64},
	writes:    []int{1, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20},
	hops:      []int{1, 2, 4, 8},
	nested:    []int{0, 1, 2, 3, 4},
}

// comparing is quick, and yet long enough that two builds can be told apart by a few
// percent. Memory is read only after sp has given back what it does not need.
var comparing = effort{
	warmup:    32 << 20,
	transfer:  time.Second,
	far:       2 * time.Second,
	trips:     10_000,
	tripTime:  2 * time.Second,
	churn:     2000,
	churnTime: 2 * time.Second,
	settle:    full.settle,
	idle:      []int{1000},
	idleTrips: idleTrips,
	streams:   quickly.streams,
	writes:    quickly.writes,
	hops:      quickly.hops,
	nested:    quickly.nested,
}

// effortFor is by what the user asked for.
func effortFor(quick, compare bool) effort {
	switch {
	case quick && compare:
		return comparing
	case quick:
		return quickly
	}
	return full
}

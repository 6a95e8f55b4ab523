package main

import (
	"context"
	"runtime/debug"
	"time"
)

// quietAfter is how long no connection may have begun or ended before memory goes back to the system.
const quietAfter = 2 * time.Second

// How often quietAfter has passed when memory goes back.
const (
	quietFirst  = 1
	quietPools  = 2  // again, since a pool keeps what it had through one collection of garbage
	quietIdling = 10 // again: links that the last connections have left behind have been closed
)

// giveBackInterval is the least time between two that begin at quietFirst: a connection now and then must not cost two
// collections of garbage each.
const giveBackInterval = 30 * time.Second

// giveBack returns memory to the system whenever turnover, having grown, has not for a while: what a burst of
// connections took must not stay with a process that runs for years. It runs until ctx ends.
func giveBack(ctx context.Context, turnover func() uint64) {
	ticks := time.NewTicker(quietAfter)
	defer ticks.Stop()
	var last uint64
	var began time.Time  // at quietFirst
	quiet := quietIdling // nothing has been taken yet
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		if now := turnover(); now != last {
			last, quiet = now, 0
			continue
		}
		quiet++
		if quiet == quietFirst {
			if time.Since(began) < giveBackInterval {
				quiet = quietPools // and so not before quietIdling
				continue
			}
			began = time.Now()
		}
		switch quiet {
		case quietFirst, quietPools, quietIdling:
			debug.FreeOSMemory()
		}
	}
}

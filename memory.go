package main

import (
	"context"
	"runtime/debug"
	"time"
)

// quietAfter is how long no connection may have begun or ended before memory goes back to the system.
const quietAfter = 2 * time.Second

// giveBack returns memory to the system whenever turnover, having grown, has not for a while: what a burst of
// connections took must not stay with a process that runs for years. It runs until ctx ends.
func giveBack(ctx context.Context, turnover func() uint64) {
	ticks := time.NewTicker(quietAfter)
	defer ticks.Stop()
	var last, given uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		now := turnover()
		if now == last && now != given {
			debug.FreeOSMemory()
			given = now
		}
		last = now
	}
}

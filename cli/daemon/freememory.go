package daemon

import (
	"context"
	"runtime/debug"
	"time"
)

// freeMemoryPoll is how often freeMemory looks whether connections have begun or ended.
const freeMemoryPoll = 500 * time.Millisecond

// freeMemoryAfter is for how long none has when memory is freed: soon; again, since a pool keeps
// what it had through one collection of garbage; and again when links that the last connections
// have left behind have been closed.
var freeMemoryAfter = [...]time.Duration{2 * time.Second, 4 * time.Second, 20 * time.Second}

// A connection now and then must not cost so many collections of garbage: memory is freed soon
// only if freeMemoryBurst have begun or ended, or freeMemoryInterval has passed, since it last
// was.
const (
	freeMemoryBurst    = 100
	freeMemoryInterval = 30 * time.Second
)

// freeMemory returns memory to the system whenever turnover, having grown, has not for a while:
// what a burst of connections took must not stay with a process that runs for years. It runs
// until ctx ends.
func freeMemory(ctx context.Context, turnover func() uint64) {
	ticks := time.NewTicker(freeMemoryPoll)
	defer ticks.Stop()
	var (
		last, freed    uint64    // turnover: the last look's, and when memory was last freed soon
		quiet, freedAt time.Time // since when last is the same, and when memory was last freed soon
	)
	next := len(freeMemoryAfter) // in freeMemoryAfter; nothing has been taken yet
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		if now := turnover(); now != last {
			last, quiet, next = now, time.Now(), 0
			continue
		}
		if next == len(freeMemoryAfter) || time.Since(quiet) < freeMemoryAfter[next] {
			continue
		}
		if next == 0 {
			if last-freed < freeMemoryBurst && time.Since(freedAt) < freeMemoryInterval {
				next = len(freeMemoryAfter) - 1
				continue
			}
			freed, freedAt = last, time.Now()
		}
		debug.FreeOSMemory()
		next++
	}
}

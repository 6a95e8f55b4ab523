package cli

import (
	"context"
	"runtime/debug"
	"time"
)

// giveBackLook is how often giveBack looks whether connections have begun or ended.
const giveBackLook = 500 * time.Millisecond

// giveBackAfter is for how long none has when memory goes back: soon; again, since a pool keeps what it had through one
// collection of garbage; and again when links that the last connections have left behind have been closed.
var giveBackAfter = [...]time.Duration{2 * time.Second, 4 * time.Second, 20 * time.Second}

// A connection now and then must not cost so many collections of garbage: memory goes back soon only if giveBackBurst
// have begun or ended, or giveBackInterval has passed, since it last did.
const (
	giveBackBurst    = 100
	giveBackInterval = 30 * time.Second
)

// giveBack returns memory to the system whenever turnover, having grown, has not for a while: what a burst of
// connections took must not stay with a process that runs for years. It runs until ctx ends.
func giveBack(ctx context.Context, turnover func() uint64) {
	ticks := time.NewTicker(giveBackLook)
	defer ticks.Stop()
	var (
		last, given   uint64    // turnover: the last look's, and when memory last went back soon
		quiet, gaveAt time.Time // since when last is the same, and when memory last went back soon
	)
	next := len(giveBackAfter) // in giveBackAfter; nothing has been taken yet
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
		if next == len(giveBackAfter) || time.Since(quiet) < giveBackAfter[next] {
			continue
		}
		if next == 0 {
			if last-given < giveBackBurst && time.Since(gaveAt) < giveBackInterval {
				next = len(giveBackAfter) - 1
				continue
			}
			given, gaveAt = last, time.Now()
		}
		debug.FreeOSMemory()
		next++
	}
}

package daemon

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/secureportal/sp/internal/pause"
)

// freeMemoryPause is how long freeMemory takes no note of more connections after one: where there
// are many, it looks now and then.
const freeMemoryPause = 500 * time.Millisecond

// freeMemoryAfter is for how long none has begun or ended when memory is freed: soon; again, since
// a pool keeps what it had through one collection of garbage; and again when links that the last
// connections have left behind have been closed.
var freeMemoryAfter = [...]time.Duration{2 * time.Second, 4 * time.Second, 20 * time.Second}

// A connection now and then must not cost so many collections of garbage: memory is freed soon
// only if freeMemoryBurst have begun or ended, or freeMemoryInterval has passed, since it last
// was.
const (
	freeMemoryBurst    = 100
	freeMemoryInterval = 30 * time.Second
)

// freeMemory returns memory to the system whenever turnover, having grown, has not for a while:
// what a burst of connections took must not stay with a process that runs for years. turned gets
// something when turnover has grown: as long as it does not, nothing is done. It runs until ctx
// ends.
func freeMemory(ctx context.Context, turned <-chan struct{}, turnover func() uint64) {
	var freed uint64 // turnover when memory was last freed soon
	var freedAt time.Time
	next := len(freeMemoryAfter) // in freeMemoryAfter; nothing has been taken yet
	quiet := time.NewTimer(0)
	<-quiet.C
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turned:
			next = 0
			if !pause.For(ctx, freeMemoryPause) {
				return
			}
			quiet.Reset(freeMemoryAfter[0] - freeMemoryPause)
			continue
		case <-quiet.C:
		}
		before := freeMemoryAfter[next]
		if next == 0 && turnover()-freed < freeMemoryBurst &&
			time.Since(freedAt) < freeMemoryInterval {
			next = len(freeMemoryAfter) - 1
		} else {
			if next == 0 {
				freed, freedAt = turnover(), time.Now()
			}
			debug.FreeOSMemory()
			next++
		}
		if next < len(freeMemoryAfter) {
			quiet.Reset(freeMemoryAfter[next] - before)
		}
	}
}

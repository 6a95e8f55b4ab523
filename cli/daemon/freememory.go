package daemon

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
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

// A handshake leaves three times as much garbage as the session that it makes takes, and what stays
// lies between it: what is collected when there are a crowdPart more sessions, and crowdLeast at
// that, leaves smaller holes than what is when memory has doubled.
const (
	crowdPart  = 8
	crowdLeast = 64
)

// crowd is how many sessions there were when garbage was last collected because of them.
type crowd int64

// grows tells whether it is to be now, when there are so many.
func (c *crowd) grows(now int64) bool {
	had := min(int64(*c), now)
	*c = crowd(had)
	if now <= had+had/crowdPart+crowdLeast {
		return false
	}
	*c = crowd(now)
	return true
}

// garbage is what is known of when garbage was collected. All daemons of a process have one, for
// what one of them does does for all.
type garbage struct {
	mu       sync.Mutex
	sessions crowd
	freed    time.Time
}

var processGarbage garbage

// collect collects garbage if there are many more sessions, now, than when that was last done.
func (g *garbage) collect(now int64) (done bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if done = g.sessions.grows(now); done {
		runtime.GC()
	}
	return done
}

// free returns memory to the system, unless that has been done since.
func (g *garbage) free(since time.Time) (done bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if done = g.freed.Before(since); done {
		g.freed = time.Now()
		debug.FreeOSMemory()
	}
	return done
}

// freeMemory returns memory to the system whenever turnover, having grown, has not for a while:
// what a burst of connections took must not stay with a process that runs for years. turned gets
// something when turnover has grown: as long as it does not, nothing is done. It runs until ctx
// ends.
func freeMemory(ctx context.Context, turned <-chan struct{}, turnover func() uint64) {
	var freed uint64 // turnover when memory was last freed soon
	var freedAt time.Time
	next := len(freeMemoryAfter) // in freeMemoryAfter; nothing has been taken yet
	asked := time.Now()          // when the next time was decided upon that memory is freed
	quiet := time.NewTimer(0)
	<-quiet.C
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turned:
			next = 0
			processGarbage.collect(channel.SessionsNow())
			if !pause.For(ctx, freeMemoryPause) {
				return
			}
			asked = time.Now()
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
			processGarbage.free(asked)
			next++
		}
		asked = time.Now()
		if next < len(freeMemoryAfter) {
			quiet.Reset(freeMemoryAfter[next] - before)
		}
	}
}

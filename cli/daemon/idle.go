package daemon

import (
	"sync"
	"time"
)

// shortestIdle is the shortest time that configurations say, or 0.
func shortestIdle(all []Named) (after time.Duration) {
	for _, one := range all {
		if d := one.Config.IdleExit; d > 0 && (after == 0 || d < after) {
			after = d
		}
	}
	return after
}

// idleness tells when no connection of an inlet or an outlet has been open for some time. It is
// safe for concurrent use.
type idleness struct {
	mu    sync.Mutex // guards what follows, and is held while somebody is told
	open  int
	after time.Duration
	timer *time.Timer // nil if nobody wants to know
}

// watch has tell be called when nothing has been open for so long, from now on. It may be told
// again. tell must not wait for connections.
func (i *idleness) watch(after time.Duration, tell func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.after = after
	i.timer = time.AfterFunc(after, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.open == 0 && i.timer != nil {
			tell()
		}
	})
	if i.open > 0 {
		i.timer.Stop()
	}
}

// stop returns when nobody is told any more.
func (i *idleness) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.timer != nil {
		i.timer.Stop()
		i.timer = nil
	}
}

func (i *idleness) begin() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.open++; i.timer != nil {
		i.timer.Stop()
	}
}

func (i *idleness) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.open--; i.open == 0 && i.timer != nil {
		i.timer.Reset(i.after)
	}
}

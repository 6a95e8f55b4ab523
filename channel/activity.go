package channel

import (
	"slices"
	"sync"
	"time"
)

// activityLinger is for how long after the last of something a session is pinged as if there were
// something: one connection after the other changes nothing.
const activityLinger = 5 * time.Second

// Activity counts what somebody would miss if the far ends of some sessions were gone: connections,
// requests. While there is nothing, those sessions ping more rarely. The endpoints of one process
// may share one. The zero value has nothing yet; it is safe for concurrent use.
type Activity struct {
	mu    sync.Mutex
	count int
	ended time.Time // when there was last something
	tells []*chores // of sessions, when there is something after a while
}

// Begin counts something, until End is called, once.
func (a *Activity) Begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
	if a.count == 1 && len(a.tells) > 0 && time.Since(a.ended) >= activityLinger {
		for _, c := range a.tells {
			c.add(choreMissed)
		}
	}
}

// End is the end of Begin.
func (a *Activity) End() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count--; a.count == 0 {
		a.ended = time.Now()
	}
}

// now tells whether there is something, or has been just now.
func (a *Activity) now() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count > 0 || time.Since(a.ended) < activityLinger
}

// none tells whether there is nothing now.
func (a *Activity) none() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count == 0
}

// tell has choreMissed added to c each time that there is something after a while in which there
// was nothing, until forget is called.
func (a *Activity) tell(c *chores) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tells = append(a.tells, c)
}

func (a *Activity) forget(c *chores) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.tells, c); i >= 0 {
		last := len(a.tells) - 1
		a.tells[i], a.tells[last] = a.tells[last], nil
		a.tells = a.tells[:last]
	}
}

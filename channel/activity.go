package channel

import (
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
	ended time.Time     // when there was last something
	began chan struct{} // closed when there is something after a while; nil if nobody has asked
}

// Begin counts something, until End is called, once.
func (a *Activity) Begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
	if a.count == 1 && a.began != nil && time.Since(a.ended) >= activityLinger {
		close(a.began)
		a.began = nil
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

// next returns a channel that is closed when there is something the next time that there has been
// nothing for a while.
func (a *Activity) next() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.began == nil {
		a.began = make(chan struct{})
	}
	return a.began
}

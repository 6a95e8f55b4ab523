package relay

import (
	"sync"
	"time"
)

// endedKeys are the keys of leases that have ended a moment ago: a standby link may have been under
// way then. It has a lock of its own. The zero value has none.
type endedKeys struct {
	mu   sync.Mutex
	keys map[keyID]standbyKey
}

// add remembers a key for as long as a standby link may be under way.
func (e *endedKeys) add(k standbyKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.keys == nil {
		e.keys = make(map[keyID]standbyKey)
	}
	e.keys[k.id] = k
	time.AfterFunc(standbyUnderWay, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.keys, k.id)
	})
}

// verifies tells whether one of the keys proves a standby link.
func (e *endedKeys) verifies(payload []byte, id keyID, number uint64) bool {
	e.mu.Lock()
	k, ok := e.keys[id]
	e.mu.Unlock()
	return ok && k.verifies(payload, number)
}

// errLeaseOver says that a standby link was under way when its lease ended.
var errLeaseOver error = leaseOverError{}

type leaseOverError struct{}

func (leaseOverError) Error() string { return "standby link of a lease that has just ended" }

// Ordinary has it be no warning: see route.Node.
func (leaseOverError) Ordinary() bool { return true }

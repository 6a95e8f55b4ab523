package channel

import (
	"maps"
	"slices"
	"sync"
)

// flowTable is an endpoint's flows that outlive their links, until nothing of them is left to do.
type flowTable struct {
	mu   sync.RWMutex
	by   map[flowID]*Flow
	less chan struct{} // closed when there is one less; nil: nobody wants to know
}

func (t *flowTable) add(f *Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = make(map[flowID]*Flow)
	}
	t.by[f.lasting.id] = f
}

func (t *flowTable) remove(f *Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by[f.lasting.id] == f {
		delete(t.by, f.lasting.id)
		if t.less != nil {
			close(t.less)
			t.less = nil
		}
	}
}

func (t *flowTable) get(id flowID) *Flow {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.by[id]
}

// of returns the flows that are s's now.
func (t *flowTable) of(s *Session) (all []*Flow) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, f := range t.by {
		if f.Session() == s {
			all = append(all, f)
		}
	}
	return all
}

// all returns all flows, and a channel that is closed when there is one less.
func (t *flowTable) all() (all []*Flow, less <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.less == nil {
		t.less = make(chan struct{})
	}
	return slices.Collect(maps.Values(t.by)), t.less
}

// largest returns the flow that keeps most, of those that are known to have come to the far end:
// others have nothing else to begin anew with.
func (t *flowTable) largest() *Flow {
	return t.most(func(f *Flow) int64 { return f.lasting.kept.spare() })
}

// largestUnread is largest of those that have a link on which they are not read.
func (t *flowTable) largestUnread() *Flow {
	return t.most(func(f *Flow) int64 {
		if f.isAbsent() {
			return 0
		}
		return f.lasting.kept.unread()
	})
}

func (t *flowTable) most(held func(f *Flow) int64) (most *Flow) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var n int64
	for _, f := range t.by {
		if m := held(f); m > n && f.unproven.Load() == nil {
			most, n = f, m
		}
	}
	return most
}

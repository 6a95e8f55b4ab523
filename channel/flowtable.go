package channel

import (
	"sync"

	"github.com/secureportal/sp/internal/budget"
)

// flowTable is an endpoint's flows that outlive their links, until nothing of them is left to do.
type flowTable struct {
	mu sync.RWMutex
	by map[flowID]*Flow
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

// largest returns the flow that keeps most.
func (t *flowTable) largest() (most *Flow) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var held int64
	for _, f := range t.by {
		if n := f.lasting.kept.spare(); n > held {
			most, held = f, n
		}
	}
	return most
}

// keepWhatFits gives up what the flow that holds most keeps, while all together keep too much.
func (e *Endpoint) keepWhatFits() {
	for keptTooMuch() {
		f := e.flows.largest()
		if f == nil {
			return
		}
		f.lasting.kept.giveUp()
		if e.config.GaveUp != nil {
			e.config.GaveUp(f)
		}
		f.failSuspended(errGivenUp)
		f.tidy()
	}
}

func keptTooMuch() bool { return budget.Kept.Taken() > budget.Kept.Most() }

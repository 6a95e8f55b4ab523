package daemon

import (
	"context"
	"sync"

	"github.com/secureportal/sp/portal"
)

// health is whether all targets of a site that are checked are well: who shares a name is led to no
// more if one is not. It is a relay.Health. The zero value is that none is checked.
type health struct {
	mu      sync.Mutex
	sick    map[*portal.Check]bool // those that are not
	changed chan struct{}          // closed when there are others; nil if nobody has asked
}

// follow takes note of what a check finds, until ctx ends.
func (h *health) follow(ctx context.Context, c *portal.Check) {
	defer h.set(c, false)
	for {
		sick, changed := c.IsSick()
		h.set(c, sick)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (h *health) set(c *portal.Check, sick bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sick[c] == sick {
		return
	}
	if h.sick == nil {
		h.sick = make(map[*portal.Check]bool)
	}
	h.sick[c] = true
	if !sick {
		delete(h.sick, c)
	}
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// IsSick implements relay.Health.
func (h *health) IsSick() (sick bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return len(h.sick) > 0, h.changed
}

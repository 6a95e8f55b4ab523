package daemon

import (
	"context"
	"sync"

	"github.com/secureportal/sp/portal"
)

// health is whether the targets of a site that are checked are well: who shares a name is led to no
// more if one that it may lead to is not. The zero value is that none is checked.
type health struct {
	mu      sync.Mutex
	sick    map[*portal.Check]string // those that are not, and by which name alone each is reached
	changed chan struct{}            // closed when there are others; nil if nobody has asked
}

// follow takes note of what a check finds, until ctx ends. name is by which alone the target is
// reached, empty if by all.
func (h *health) follow(ctx context.Context, c *portal.Check, name string) {
	defer h.set(c, name, false)
	for {
		sick, changed := c.IsSick()
		h.set(c, name, sick)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (h *health) set(c *portal.Check, name string, sick bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, was := h.sick[c]; was == sick {
		return
	}
	if h.sick == nil {
		h.sick = make(map[*portal.Check]string)
	}
	h.sick[c] = name
	if !sick {
		delete(h.sick, c)
	}
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// of returns the health of what is reached by a name.
func (h *health) of(name string) nameHealth { return nameHealth{h, name} }

// nameHealth is a relay.Health.
type nameHealth struct {
	all  *health
	name string
}

// IsSick implements relay.Health. The channel is also closed when that of another name changes.
func (n nameHealth) IsSick() (sick bool, changed <-chan struct{}) {
	h := n.all
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	for _, name := range h.sick {
		sick = sick || name == "" || name == n.name
	}
	return sick, h.changed
}

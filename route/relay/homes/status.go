package homes

import (
	"strings"
	"time"

	"github.com/secureportal/sp/internal/sorting"
	"github.com/secureportal/sp/route"
)

// Home is a relay where an outlet's name is claimed, or is to be.
type Home struct {
	Relay route.Route
	Held  bool
	Lost  time.Time // when it was held last, or the first attempt began; if it is not held
	Err   error     // why it is not held; nil if that is not known yet
}

// Homes returns the relays where the name is claimed, but for those where it is being given up. It
// is safe for concurrent use.
func (o *Outlet) Homes() (all []Home) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.claims {
		if !c.leaves {
			all = append(all, Home{Relay: c.to, Held: c.up, Lost: c.lost, Err: c.why})
		}
	}
	sorting.Func(all, func(a, b Home) int {
		return strings.Compare(route.Format(a.Relay), route.Format(b.Relay))
	})
	return all
}

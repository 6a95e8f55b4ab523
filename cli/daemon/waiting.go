package daemon

import (
	"cmp"
	"time"

	"github.com/secureportal/sp/internal/sorting"
)

// Waiting is what Shutdown waits for.
type Waiting struct {
	// For is how long, at most.
	For time.Duration
	// Open are connections of inlets and outlets, those that have been idle longest first.
	Open []OpenConnection
	// Passing is how many more a relay or a bridge passes on.
	Passing int
}

// Connections is how many there are.
func (w Waiting) Connections() int { return len(w.Open) + w.Passing }

// OpenConnection is one connection of an inlet or an outlet.
type OpenConnection struct {
	To   string        // where it leads: the inlet's first route, or the outlet's target
	Open time.Duration // for how long
	Idle time.Duration // how long nothing has been sent or received, where IdleKnown is set
	// IdleKnown is whether the system tells.
	IdleKnown bool
}

func (d *Daemon) waiting(limit time.Duration) Waiting {
	w := Waiting{For: limit}
	for _, s := range d.allSites() {
		w.Open = append(w.Open, s.open.waiting()...)
		for _, m := range s.allMembers() {
			if m != s.main && !m.dials {
				w.Passing += m.node.Connections()
			}
		}
	}
	sorting.Func(w.Open, func(a, b OpenConnection) int {
		return cmp.Or(cmp.Compare(b.Idle, a.Idle), cmp.Compare(b.Open, a.Open))
	})
	return w
}

// sayWaiting tells, when nothing new comes in any more and before anything is waited for.
func (d *Daemon) sayWaiting(w Waiting) {
	more := []any{"for", w.For, "connections", w.Connections()}
	if len(w.Open) > 0 {
		first := w.Open[0]
		more = append(more, "to", first.To, "open", first.Open.Round(time.Second))
		if first.IdleKnown {
			more = append(more, "idle", first.Idle.Round(time.Second))
		}
	}
	d.options.Logger.Info("stopping, and waiting for open connections", more...)
	if d.options.Waiting != nil {
		d.options.Waiting(w)
	}
}

package homes

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// claim is a relay that has the name, or is to have it.
type claim struct {
	to     route.Route
	client *relay.Client

	// Guarded by the outlet's mu.
	up     bool
	lost   time.Time // when it was up last, or begun
	why    error     // it is not up; nil: it is, or is being tried
	failed time.Time // when it was lost, or could not be had; zero while it is up or being tried
	told   time.Time // from when on to ask for the list there, which is new; zero: it is known
	list   *set.List // that it has given, nil before that
	leaves bool
	left   time.Time          // when it began to be given up
	end    context.CancelFunc // cuts what it has led here
}

// isKept takes back that a name is given up where it is at home again, and reports false if that is
// too late.
func (c *claim) isKept() bool {
	c.leaves = c.leaves && !c.client.Stay()
	return !c.leaves
}

// beginLocked has a client claim the name on a relay.
func (o *Outlet) beginLocked(
	ctx context.Context, tasks *sync.WaitGroup, to route.Route,
) *claim {
	ctx, end := context.WithCancel(ctx)
	c := &claim{to: to, client: o.New(to), end: end, lost: time.Now()}
	c.client.Registered = func() {
		o.mu.Lock()
		c.up, c.failed, c.why = true, time.Time{}, nil
		o.mu.Unlock()
		o.tell(nil)
	}
	c.client.Failed = func(err error) {
		o.mu.Lock()
		if c.up {
			c.lost = time.Now()
		}
		c.up, c.why = false, err
		if c.leaves {
			o.mu.Unlock()
			o.poke()
			return
		}
		if isTaken(err) { // so it is on the name's other homes, and where it is not known
			c.failed = time.Time{}
		} else if c.failed.IsZero() {
			c.failed = time.Now()
		}
		o.mu.Unlock()
		o.tell(err)
	}
	c.client.Nodes = func() {
		o.mu.Lock()
		c.told = time.Now()
		o.mu.Unlock()
		o.poke()
	}
	o.claims[c] = struct{}{}
	tasks.Go(func() {
		defer end()
		c.client.Run(ctx)
		o.mu.Lock()
		delete(o.claims, c)
		o.mu.Unlock()
		o.poke()
	})
	return c
}

// isTaken tells whether a relay has said that the name is somebody else's.
func isTaken(err error) bool {
	var refused *route.StatusError
	return errors.As(err, &refused) && !refused.Hearsay && refused.Code == wire.NameTaken
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/homes"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/route/transport"
)

// examineSet asks a relay which others there are, and whether they can be reached.
func (d *doctor) examineSet(to route.Route) {
	ctx, cancel := d.within()
	list, err := homes.Ask(ctx, d.node, to)
	cancel()
	switch {
	case errors.Is(err, homes.ErrAlone):
		d.ok("set", "it is none of a set")
		return
	case err != nil:
		d.warn("set", err)
		return
	}
	ctx, cancel = d.within()
	defer cancel()
	errs := make([]error, len(list.Nodes))
	var asking sync.WaitGroup
	for i, n := range list.Nodes {
		asking.Go(func() { errs[i] = d.examineNode(ctx, to, n) })
	}
	asking.Wait()
	for i, n := range list.Nodes {
		name := fmt.Sprintf("relay %.8s", n.ID)
		if errs[i] != nil {
			d.warn(name, errs[i])
			continue
		}
		d.ok(name, "it answers at %s", transport.Format(n.Addresses[0]))
	}
}

// examineNode asks a relay of the set that to leads to whether it is there. What the set says of it
// is hearsay, and nobody is dialed whom that cannot mean.
func (d *doctor) examineNode(ctx context.Context, to route.Route, n set.Node) error {
	at, meant := homes.At(to, n)
	switch {
	case n.State != set.Up:
		return fmt.Errorf("the set says that it is %s", n.State)
	case !meant:
		return errors.New("the set says of it no address that can be meant from here")
	}
	return d.node.Probe(ctx, at)
}

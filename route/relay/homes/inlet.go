package homes

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// When an inlet asks who is in the set.
const (
	refreshAfter = time.Minute     // while all is well
	askSoonest   = time.Second     // after the time before, however bad things are
	askPause     = 5 * time.Second // after a question that was not answered
)

// Inlet keeps the paths of a failover where the names that its routes lead to are at home. Its
// fields are not changed once Run has been called.
type Inlet struct {
	Node   *route.Node
	Routes []route.Route // as they were named, the best first
	Paths  *route.Failover

	mu      sync.Mutex
	current [][]route.Choice // of each of Routes: what stands for it now
}

// Run keeps the paths until ctx ends. Where no route leads by a relay's name, it only waits for
// that.
func (i *Inlet) Run(ctx context.Context) {
	for _, r := range i.Routes {
		i.current = append(i.current, []route.Choice{{Route: r}})
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for k, r := range i.Routes {
		if by, ok := relayed(r); ok {
			tasks.Go(func() { i.follow(ctx, k, by) })
		}
	}
	<-ctx.Done()
}

// byName is a route that leads by a name on a relay.
type byName struct {
	place
	forward int // the index of the name's step
	name    string
}

// IsRelayed tells whether a route leads by a name on a relay, which may be one of a set.
func IsRelayed(r route.Route) bool {
	_, ok := relayed(r)
	return ok
}

// relayed finds the last step by a name in a route. A route that says which relay it means leads by
// that one and no other.
func relayed(r route.Route) (byName, bool) {
	for i, a := range slices.Backward(r) {
		name, ok := strings.CutPrefix(a.Name, route.ForwardPrefix)
		if !ok || a.Kind != wire.Service {
			continue
		}
		p, ok := placeOf(r[:i])
		isIs := func(a wire.Address) bool { return a.Kind == wire.Is }
		if !ok || slices.ContainsFunc(r[p.index:i], isIs) {
			return byName{}, false
		}
		return byName{place: place{r, p.index}, forward: i, name: name}, true
	}
	return byName{}, false
}

// relay returns the part of the route that leads to the relay.
func (b byName) relay(to route.Route) route.Route { return to[:b.forward:b.forward] }

// follow keeps what stands for route k where its name is at home.
func (i *Inlet) follow(ctx context.Context, k int, by byName) {
	known := &set.List{}
	var shared sharers
	var before []route.Route
	for {
		list, err := i.ask(ctx, by, known)
		pause := refreshAfter + rand.N(refreshAfter/4)
		switch {
		case errors.Is(err, ErrAlone):
			known, pause = &set.List{}, 0
		case err != nil:
			pause = askPause + rand.N(askPause)
		default:
			known = list
		}
		homes := by.homes(known)
		if len(homes) == 0 {
			homes = []route.Route{by.to}
		}
		if !slices.EqualFunc(homes, before, slices.Equal[route.Route]) {
			shared, before = sharers{}, homes
		}
		if !i.hold(ctx, k, by, homes, &shared, pause) {
			return
		}
	}
}

// hold has homes stand for route k, and those who share the name there, and returns when one of the
// paths is down, or a time has passed if there is one, but not at once. It reports false when ctx
// ends.
func (i *Inlet) hold(
	ctx context.Context, k int, by byName, homes []route.Route, shared *sharers, d time.Duration,
) bool {
	soonest := time.NewTimer(askSoonest)
	defer soonest.Stop()
	var late <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		late = timer.C
	}
	early, trouble := true, false
	shared.asked = time.Time{} // of those that are known, some may be gone
	for before := 0; ; {
		_, changed := i.Paths.IsOpen()
		if time.Since(shared.asked) >= shared.next() {
			i.learn(ctx, by, homes, shared)
		}
		up := i.take(k, i.paths(by, homes, shared))
		trouble = trouble || up < before
		if trouble && !early {
			return true
		}
		before = up
		select {
		case <-changed:
		case <-shared.due():
		case <-soonest.C:
			early = false
		case <-late:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// homes returns the routes by which to come, the best first.
func (b byName) homes(list *set.List) (all []route.Route) {
	for _, n := range list.Claims(b.name, len(list.Nodes)) {
		if to, ok := b.at(n); ok && len(all) < claimsEach {
			all = append(all, to)
		}
	}
	return all
}

// withEntrance adds the route that was named as long as none of the homes can be had by: any node
// leads to where the name is.
func (i *Inlet) withEntrance(homes []route.Route, entrance route.Route) []route.Route {
	isEntrance := func(r route.Route) bool { return slices.Equal(r, entrance) }
	if slices.ContainsFunc(homes, i.Paths.IsUp) || slices.ContainsFunc(homes, isEntrance) {
		return homes
	}
	return append(homes[:len(homes):len(homes)], entrance)
}

// ask asks for the list: the relay that was named first, then nodes that are known. Those that a
// list does not have any more are asked themselves: two nodes may not see each other.
func (i *Inlet) ask(ctx context.Context, by byName, known *set.List) (*set.List, error) {
	list, err := Ask(ctx, i.Node, by.relay(by.to))
	if errors.Is(err, ErrAlone) && len(known.Nodes) == 0 {
		return nil, err
	}
	var next set.List
	if err == nil {
		next = *list.Clone()
	}
	for _, n := range known.Claims(by.name, claimsEach) {
		if _, there := next.Find(n.ID); there {
			continue
		}
		if to, ok := by.at(n); ok {
			if other, failed := Ask(ctx, i.Node, by.relay(to)); failed == nil {
				err = nil
				for _, n := range other.Nodes {
					next.Put(n)
				}
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return &next, nil
}

// take has paths stand for route k, and returns how many of them are up.
func (i *Inlet) take(k int, paths []route.Choice) (up int) {
	for _, path := range paths {
		if i.Paths.IsUp(path.Route) {
			up++
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	same := func(a, b route.Choice) bool {
		return slices.Equal(a.Route, b.Route) && a.Rank == b.Rank && a.Sick == b.Sick
	}
	if slices.EqualFunc(i.current[k], paths, same) {
		return up
	}
	i.current[k] = paths
	var all []route.Choice
	better := 0 // than the first of the next route
	for _, of := range i.current {
		worst := 0
		for _, path := range of {
			worst = max(worst, path.Rank)
			path.Rank += better
			all = append(all, path)
		}
		better += worst + 1
	}
	i.Paths.SetPaths(all)
	return up
}

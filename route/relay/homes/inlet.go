package homes

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/sorting"
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

// relayAt returns the route to a node of the set in place of the relay.
func (b byName) relayAt(n set.Node) (route.Route, bool) {
	to, ok := b.at(n)
	if !ok {
		return nil, false
	}
	return b.relay(to), true
}

// follow keeps what stands for route k where its name is at home.
func (i *Inlet) follow(ctx context.Context, k int, by byName) {
	known, heard := &set.List{}, &memory{}
	var shared sharers
	var before []route.Route
	soon := askPause // while one of the homes is down, and longer each time
	for {
		heard.forget(time.Now())
		list, err := i.ask(ctx, by, known, heard)
		pause := refreshAfter
		switch {
		case errors.Is(err, ErrAlone) && heard.isEmpty():
			known, pause = &set.List{}, 0
		case err != nil:
			pause = askPause
		default:
			known = list
		}
		ways := by.ways(known, heard)
		if !slices.EqualFunc(ways.homes, before, slices.Equal[route.Route]) {
			shared, before, soon = sharers{}, ways.homes, askPause
		}
		switch isDown := func(r route.Route) bool { return !i.Paths.IsUp(r) }; {
		case len(known.Nodes) == 0:
		case !slices.ContainsFunc(ways.homes, isDown):
			soon = askPause
		default:
			pause = min(pause, soon)
			soon = min(2*soon, refreshAfter)
		}
		pause += rand.N(pause/4 + 1)
		if !i.hold(ctx, k, by, ways, &shared, pause) {
			return
		}
	}
}

// hold has ways stand for route k, and those who share the name there, and returns when one of the
// paths is down, or a time has passed if there is one, but not at once. It reports false when ctx
// ends.
func (i *Inlet) hold(
	ctx context.Context, k int, by byName, to ways, shared *sharers, d time.Duration,
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
			i.learn(ctx, by, to.homes, shared)
		}
		up := i.take(k, i.paths(by, to, shared))
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

// ways are the routes by which to come, the best first.
type ways struct {
	homes []route.Route
	spare []route.Route // as long as none of the homes can be had: any node leads to where the name is
}

// ways returns by which nodes of a list to come, or of those that have been heard of. The last of
// all is the relay that was named.
func (b byName) ways(list *set.List, heard *memory) (w ways) {
	var others []set.Node
	for _, n := range list.Claims(b.name, len(list.Nodes)) {
		if to, ok := b.at(n); ok && len(w.homes) < claimsEach {
			w.homes = append(w.homes, to)
		} else {
			others = append(others, n)
		}
	}
	others = append(others, heard.others(b.name, func(id set.NodeID) bool {
		_, listed := list.Find(id)
		return listed
	})...)
	sorting.Stable(others, func(m, n set.Node) int { // those first that are there
		return heard.rank(m.ID) - heard.rank(n.ID)
	})
	for _, n := range others {
		if to, ok := b.at(n); ok && len(w.spare) < extraClaims {
			w.spare = append(w.spare, to)
		}
	}
	isEntrance := func(r route.Route) bool { return slices.Equal(r, b.to) }
	switch {
	case len(w.homes) == 0:
		w.homes = []route.Route{b.to}
	case !slices.ContainsFunc(w.homes, isEntrance) && !slices.ContainsFunc(w.spare, isEntrance):
		w.spare = append(w.spare, b.to)
	}
	return w
}

func (i *Inlet) isAnyUp(all []route.Route) bool { return slices.ContainsFunc(all, i.Paths.IsUp) }

// ask asks for the list: the relay that was named first, then nodes that are known. Those that a
// list does not have any more are asked themselves: two nodes may not see each other. Where none of
// the homes leads anywhere, all are that have been heard of.
func (i *Inlet) ask(
	ctx context.Context, by byName, known *set.List, heard *memory,
) (*set.List, error) {
	list, err := Ask(ctx, i.Node, by.relay(by.to))
	if errors.Is(err, ErrAlone) && len(known.Nodes) == 0 {
		return nil, err
	}
	var next set.List
	if err == nil {
		next = *list.Clone()
	}
	asked := make(map[set.NodeID]bool)
	heard.answered = nil
	more := func(nodes []set.Node) {
		for who, other := range askEach(ctx, i.Node, nodes, by.relayAt) {
			err, heard.answered = nil, append(heard.answered, who)
			for _, n := range other.Nodes {
				next.Put(n)
			}
		}
	}
	var missing []set.Node
	for _, n := range known.Claims(by.name, claimsEach) {
		if _, there := next.Find(n.ID); !there {
			missing, asked[n.ID] = append(missing, n), true
		}
	}
	more(missing)
	if err != nil || !i.isAnyUp(by.ways(&next, heard).homes) {
		more(some(heard.others(by.name, func(id set.NodeID) bool {
			return asked[id]
		})))
	}
	if err != nil {
		return nil, err
	}
	heard.note(&next, time.Now())
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

package homes

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/set"
)

// Of the nodes that have been heard of.
const (
	rememberFor = 10 * time.Minute // since a list has named the node last
	rememberAsk = 8                // at most are asked at the same time
)

// memory is the nodes of a set that lists have named. A list may lack some of them: a node that has
// just begun knows few of the others, and two may not see each other. Where nobody of the present
// list leads anywhere, those are asked. The zero value is ready. It is not safe for concurrent use.
type memory struct {
	nodes set.List
	seen  map[set.NodeID]time.Time

	answered []set.NodeID // when all were asked last: a list also names who is not there any more
}

// forget forgets those that have not been heard of for long.
func (m *memory) forget(now time.Time) {
	maps.DeleteFunc(m.seen, func(id set.NodeID, at time.Time) bool {
		old := now.Sub(at) > rememberFor
		if old {
			m.nodes.Remove(id)
		}
		return old
	})
}

// isEmpty tells whether no node is remembered.
func (m *memory) isEmpty() bool { return len(m.nodes.Nodes) == 0 }

// note takes in what a list says.
func (m *memory) note(list *set.List, now time.Time) {
	if m.seen == nil {
		m.seen = make(map[set.NodeID]time.Time)
	}
	m.forget(now)
	for _, n := range list.Nodes {
		if _, known := m.nodes.Find(n.ID); !known && len(m.nodes.Nodes) >= set.MaxNodes {
			m.forgetOldest()
		}
		m.nodes.Put(n)
		m.seen[n.ID] = now
	}
}

func (m *memory) forgetOldest() {
	var oldest set.NodeID
	for id, at := range m.seen {
		if best, ok := m.seen[oldest]; !ok || at.Before(best) {
			oldest = id
		}
	}
	delete(m.seen, oldest)
	m.nodes.Remove(oldest)
}

// others returns where else a name may be at home, the best first, without those that skip says.
func (m *memory) others(name string, skip func(set.NodeID) bool) []set.Node {
	all := m.nodes.Claims(name, len(m.nodes.Nodes))
	return slices.DeleteFunc(all, func(n set.Node) bool { return skip(n.ID) })
}

// rank is 0 for a node that has answered when all were asked last, and 1 for any other.
func (m *memory) rank(id set.NodeID) int {
	if slices.Contains(m.answered, id) {
		return 0
	}
	return 1
}

// some returns a few of the nodes, not always the same.
func some(nodes []set.Node) []set.Node {
	rand.Shuffle(len(nodes), func(i, k int) { nodes[i], nodes[k] = nodes[k], nodes[i] })
	return nodes[:min(len(nodes), rememberAsk)]
}

// askEach asks nodes for their lists, at the same time, by the route that to returns, if there is
// one. It returns the lists that it gets.
func askEach(
	ctx context.Context, by *route.Node, nodes []set.Node, to func(set.Node) (route.Route, bool),
) map[set.NodeID]*set.List {
	var asking sync.WaitGroup
	var mu sync.Mutex
	all := make(map[set.NodeID]*set.List)
	for _, n := range nodes {
		r, ok := to(n)
		if !ok {
			continue
		}
		asking.Go(func() {
			list, err := Ask(ctx, by, r)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all[n.ID] = list
		})
	}
	asking.Wait()
	return all
}

package mesh

import (
	"strings"
	"time"

	"github.com/secureportal/sp/internal/sorting"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/route/transport"
)

// NodeStatus is what this node knows of one of the set, or of an address where one is to be.
type NodeStatus struct {
	set.Node // of one that is not known it has the address only

	Self  bool
	Away  bool      // there is no link with it
	Since time.Time // when the last one ended, or none could be made; of one that is away
	Err   error     // why it cannot be reached from here; nil if it can, or the other one comes here
}

// unreached is an address where a node is to be, and why none is reached there.
type unreached struct {
	since time.Time
	err   error
}

// reached takes note that a node answers at an address.
func (m *Mesh) reached(at route.Address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.unreached, at)
}

// notReached takes note of why none does.
func (m *Mesh) notReached(at route.Address, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := unreached{time.Now(), err}
	if before, ok := m.unreached[at]; ok {
		now.since = before.since
	}
	m.unreached[at] = now
}

// Status returns what is known of the nodes: those of the list, and behind them the addresses where
// nobody answers.
func (m *Mesh) Status() []NodeStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	told := make(map[route.Address]bool)
	var all []NodeStatus
	for _, n := range m.list.Nodes {
		now := NodeStatus{Node: n, Self: n.ID == m.id}
		p := m.peers[n.ID]
		if now.Away = !now.Self && (p == nil || len(p.links) == 0); now.Away && p != nil {
			now.Since = p.lost
		}
		for _, at := range n.Addresses {
			told[at] = true
			if failed, ok := m.unreached[at]; ok && !now.Self {
				now.Err = failed.err
			}
		}
		all = append(all, now)
	}
	known := len(all)
	for at, failed := range m.unreached {
		if !told[at] {
			all = append(all, NodeStatus{
				Node: set.Node{Addresses: []route.Address{at}},
				Away: true, Since: failed.since, Err: failed.err,
			})
		}
	}
	sorting.Func(all[known:], func(a, b NodeStatus) int {
		return strings.Compare(transport.Format(a.Addresses[0]), transport.Format(b.Addresses[0]))
	})
	return all
}

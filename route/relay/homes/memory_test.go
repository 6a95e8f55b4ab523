package homes

import (
	"testing"
	"time"

	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// node returns a node of a set.
func node(n int) set.Node {
	return set.Node{
		ID: set.NodeID{byte(n)}, Epoch: 1, State: set.Up, Weight: 1,
		Addresses: []wire.Address{{Kind: wire.DNS, Name: "relay.example.com", Port: 4000}},
	}
}

func listOf(from, to int) *set.List {
	l := &set.List{}
	for n := from; n < to; n++ {
		l.Put(node(n))
	}
	return l
}

// What a list lacks is remembered for a while, and never more than a list may have: then what has
// not been named for the longest time makes room.
func TestMemory(t *testing.T) {
	var m memory
	now := time.Now()
	has := func(want ...int) {
		t.Helper()
		for _, n := range want {
			if _, ok := m.nodes.Find(node(n).ID); !ok {
				t.Errorf("%d is forgotten", n)
			}
		}
	}
	m.note(listOf(0, 3), now)
	now = now.Add(rememberFor / 2)
	m.note(listOf(2, 4), now)
	has(0, 1, 2, 3)
	listed := listOf(2, 4)
	others := m.others("db", func(id set.NodeID) bool { _, ok := listed.Find(id); return ok })
	if len(others) != 2 {
		t.Errorf("others: %v", others)
	}
	now = now.Add(rememberFor/2 + 1)
	m.forget(now)
	if has(2, 3); len(m.nodes.Nodes) != 2 || len(m.seen) != 2 {
		t.Errorf("remembered too long: %v", m.nodes.Nodes)
	}
	m.note(listOf(4, 4+set.MaxNodes), now.Add(1))
	if has(4, 3+set.MaxNodes); len(m.nodes.Nodes) != set.MaxNodes || len(m.seen) != set.MaxNodes {
		t.Errorf("%d nodes, %d times", len(m.nodes.Nodes), len(m.seen))
	}
	m.forget(now.Add(2 * rememberFor))
	if !m.isEmpty() {
		t.Error("something is remembered for ever")
	}
}

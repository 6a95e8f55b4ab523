package homes

import (
	"slices"
	"testing"
	"time"

	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// nodesOf returns a list of nodes with these numbers.
func nodesOf(t *testing.T, numbers ...byte) *set.List {
	t.Helper()
	l := &set.List{Version: 1}
	for _, n := range numbers {
		l.Put(set.Node{
			ID: set.NodeID{n}, Epoch: 1, State: set.Up, Weight: 1,
			Addresses: []wire.Address{parsed(t, "192.0.2.1:4000")},
		})
	}
	return l
}

func numbersOf(l *set.List) (all []byte) {
	for _, n := range l.Nodes {
		all = append(all, n.ID[0])
	}
	return all
}

// What is known of a set does not depend on who has been asked last: a relay that another one does
// not see yet, or not any more, is one.
func TestListsAreMerged(t *testing.T) {
	first, second := &claim{up: true}, &claim{up: true}
	leaving, lost := &claim{up: true, leaves: true}, &claim{}
	o := &Outlet{claims: map[*claim]struct{}{first: {}, second: {}, leaving: {}, lost: {}}}
	for _, step := range []struct {
		from *claim
		says []byte
		want []byte
	}{
		{nil, []byte{9}, []byte{9}},
		{leaving, []byte{1, 5}, []byte{1, 5}}, // nobody else has said anything
		{first, []byte{1, 2, 3}, []byte{1, 2, 3}},
		{second, []byte{1, 2}, []byte{1, 2, 3}},
		{second, []byte{1, 2, 4}, []byte{1, 2, 3, 4}},
		{first, []byte{1, 2}, []byte{1, 2, 4}},
		{leaving, []byte{1, 5}, []byte{1, 2, 4}},
		{lost, []byte{6}, []byte{1, 2, 4}},
	} {
		o.learn(step.from, nodesOf(t, step.says...))
		if got := numbersOf(o.list); !slices.Equal(got, step.want) {
			t.Errorf("after %v: %v, want %v", step.says, got, step.want)
		}
	}
}

// There is always a place for where a name is at home, whatever goes on where it is given up.
func TestPlacesAreTakenFromWhatIsGivenUp(t *testing.T) {
	now := time.Now()
	o := &Outlet{claims: make(map[*claim]struct{})}
	var ended []int
	for i := range maxClaims {
		if !o.hasPlaceLocked() || len(ended) > 0 {
			t.Fatalf("no place for claim %d", i)
		}
		o.claims[&claim{
			leaves: i == 2 || i == 5, left: now.Add(-time.Duration(i) * time.Second),
			end: func() { ended = append(ended, i) },
		}] = struct{}{}
	}
	if o.hasPlaceLocked() || !slices.Equal(ended, []int{5}) {
		t.Errorf("ended: %v", ended)
	}
}

// A relay at which a name is being given up keeps it when it is a home again, and is claimed anew
// when it is too late for that.
func TestGivenUpIsKept(t *testing.T) {
	to := parsed(t, "192.0.2.1:4000")
	c := &claim{to: []wire.Address{to}, client: &relay.Client{}, leaves: true}
	o := &Outlet{claims: map[*claim]struct{}{c: {}}}
	if o.keptByLocked(c.to) != c || c.leaves {
		t.Error("it is not kept")
	}
	c.leaves = true
	c.client.Leave()
	if o.keptByLocked(c.to) != nil || !c.leaves {
		t.Error("what is over is kept")
	}
}

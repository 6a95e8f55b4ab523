package admission

import (
	"errors"
	"testing"

	"github.com/secureportal/sp/identity"
)

func id(n byte) identity.Identifier { return identity.Identifier{n} }

// An identity's links count with and without a flow. Those that rest go first, the one that has
// rested longest before the others.
func TestRestingLinksMakeRoom(t *testing.T) {
	a := New(Limits{PerIdentity: 3}, nil)
	var closed []int
	rest := func(n int) (end func()) {
		return a.Rest(id(1), func() { closed = append(closed, n) })
	}
	first := rest(1)
	rest(2)
	rest(3)
	if len(closed) != 0 {
		t.Fatalf("%v are closed", closed)
	}
	rest(4)
	if err := a.BeginFlow(id(1)); err != nil {
		t.Error(err)
	}
	first() // it has noticed
	if err := a.BeginFlow(id(2)); err != nil {
		t.Errorf("another identity: %v", err)
	}
	for range 2 {
		if err := a.BeginFlow(id(1)); err != nil {
			t.Error(err)
		}
	}
	if len(closed) != 4 || closed[0] != 1 || closed[3] != 4 {
		t.Errorf("%v are closed", closed)
	}
	if err := a.BeginFlow(id(1)); !errors.Is(err, ErrTooManyFromThere) {
		t.Errorf("one more than it may have: %v", err)
	}
	for range 3 {
		a.EndFlow(id(1))
	}
	a.EndFlow(id(2))
	end := rest(5)
	end()
	if len(a.held) > 1 { // links 2 to 4 have not noticed
		t.Errorf("%d identities are remembered", len(a.held))
	}
}

// Links leave descriptors for targets, and one identity leaves some of both for the others.
func TestDescriptorsAreKept(t *testing.T) {
	const most = 160
	a := New(Limits{Descriptors: most}, nil)
	links := 0
	for {
		if _, err := a.Link(); err != nil {
			break
		}
		links++
	}
	if links != most-most/targetsPart {
		t.Errorf("%d links, of %d descriptors", links, most)
	}
	targets := 0
	for a.Begin(ByIdentity(id(1))) == nil {
		targets++
	}
	if targets != heldFew {
		t.Errorf("%d targets of an identity when others have nearly all", targets)
	}
	for a.Begin(ByIdentity(id(byte(2+targets)))) == nil {
		targets++
	}
	if links+targets != most {
		t.Errorf("%d descriptors are used of %d", links+targets, most)
	}
	for range links / 2 {
		a.descriptors.links--
	}
	if err := a.Begin(ByIdentity(id(1))); err != nil {
		t.Errorf("there are enough again: %v", err)
	}
}

// One identity cannot have all links rest.
func TestOneIdentityLeavesLinks(t *testing.T) {
	const most = 160
	a := New(Limits{Descriptors: most}, nil)
	closed := 0
	for range most {
		end, err := a.Link()
		if err != nil {
			t.Fatalf("no more links, and %d have been closed", closed)
		}
		a.Rest(id(1), func() { closed++; a.descriptors.links-- })
		_ = end
	}
	if left := a.descriptors.mostLinks() - a.descriptors.links; left < most/8 {
		t.Errorf("%d links are left for others", left)
	}
}

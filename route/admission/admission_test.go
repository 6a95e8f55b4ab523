package admission

import (
	"errors"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
)

// A slot counts until it is free, once, and makes a source known only when it has ended well.
func TestSlotLife(t *testing.T) {
	a := New(Limits{Unauthenticated: 8}, nil)
	now := time.Now()
	enter := func(holder any) *Slot {
		t.Helper()
		s, displaced, err := a.Enter(holder, linkSource(1), now)
		if err != nil || displaced != nil {
			t.Fatalf("%v displaces %v, %v", s, displaced, err)
		}
		return s
	}
	before := unauthenticatedNow.Value()
	expect := func(what string, unauthenticated, authenticated int) {
		t.Helper()
		if n := unauthenticatedNow.Value() - before; n != int64(unauthenticated) {
			t.Errorf("%s: the gauge says %d, want %d", what, n, unauthenticated)
		}
		if u, k := a.Links(); u != unauthenticated || k != authenticated {
			t.Errorf("%s: %d and %d links, want %d and %d", what, u, k, unauthenticated,
				authenticated)
		}
	}
	first, second := enter(1), enter(2)
	expect("both wait", 2, 0)
	first.Free()
	first.Free()
	expect("one is free", 1, 0)
	first.Authenticate()
	expect("too late to be authenticated", 1, 0)
	second.Authenticate()
	second.Authenticate()
	expect("one is authenticated", 0, 1)
	for range 2 {
		first.End(now)
		second.End(now)
	}
	expect("both have ended", 0, 0)
	if !a.links.known.has(linkSource(1), now) {
		t.Error("the source is not known")
	}
	var none *Slot
	none.Free()
	none.Authenticate()
	none.End(now)
}

// Who is told to make room is told by what it called itself, and counts until it has gone.
func TestDisplacedHolder(t *testing.T) {
	a := New(Limits{Unauthenticated: 1}, nil)
	now := time.Now()
	old, _, err := a.Enter("old", linkSource(1), now)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(slotGrace)
	_, displaced, err := a.Enter("new", linkSource(2), now)
	if displaced != "old" || err != nil {
		t.Fatalf("%v is displaced, %v", displaced, err)
	}
	now = now.Add(slotGrace)
	if _, _, err := a.Enter("third", linkSource(3), now); !errors.Is(err, ErrTooMany) {
		t.Errorf("a second link is displaced before the first has gone: %v", err)
	}
	old.Authenticate() // it was under way
	if _, known := a.Links(); known != 1 {
		t.Error("it has been authenticated, and its source is not known")
	}
	if _, displaced, err := a.Enter("third", linkSource(3), now); displaced != "new" || err != nil {
		t.Errorf("%v is displaced, %v", displaced, err)
	}
}

// Admission counts connections by party and handshakes by source, each with an error of its own.
func TestAdmission(t *testing.T) {
	a := New(Limits{Connections: 2, PerIdentity: 1, HandshakeRate: 1}, nil)
	me, here := ByIdentity(identity.Identifier{1}), BySource(Source{})
	if !(Party{}).IsZero() || me.IsZero() || here.IsZero() {
		t.Error("a party is nobody")
	}
	for i, step := range []struct {
		party Party
		want  error
	}{{me, nil}, {me, ErrTooManyFromThere}, {here, nil}, {here, ErrTooMany}} {
		if err := a.Begin(step.party); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v, want %v", i, err, step.want)
		}
	}
	a.End(me)
	if n := a.connections.all; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	now := time.Now()
	for i := range handshakeBurst + 1 {
		want := error(nil)
		if i == handshakeBurst {
			want = ErrTooManyHandshakes
		}
		if err := a.Handshake(Source{}, now); !errors.Is(err, want) {
			t.Errorf("handshake %d: %v", i, err)
		}
	}
}

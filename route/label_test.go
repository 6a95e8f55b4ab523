package route

import (
	"context"
	"slices"
	"testing"

	"github.com/secureportal/sp/internal/testkit"
	"github.com/secureportal/sp/wire"
)

func TestLabelsOfOneMaker(t *testing.T) {
	mine, another := newLabeler(), newLabeler()
	seen := map[wire.Address]bool{}
	for range 1000 {
		l := mine.origin()
		if err := l.Validate(); err != nil || seen[l] {
			t.Fatalf("%v: %v, seen before: %v", l, err, seen[l])
		}
		seen[l] = true
		if !mine.made(l) || another.made(l) {
			t.Fatalf("%v: mine %v, another's %v", l, mine.made(l), another.made(l))
		}
	}
	a, b := mine.passing("a"), mine.passing("b")
	switch {
	case a != mine.passing("a"):
		t.Error("one source has two labels")
	case a == b, a == another.passing("a"):
		t.Error("two sources, or two makers, have the same label")
	case !mine.made(a), another.made(a):
		t.Error("a label of a source is not recognised, or by somebody else")
	case mine.made(wire.Address{Kind: wire.Label}):
		t.Error("an empty label is recognised")
	}
	for i := range len(a.Name) * 8 {
		forged := []byte(a.Name)
		forged[i/8] ^= 1 << (i % 8)
		if mine.made(wire.Address{Kind: wire.Label, Name: string(forged)}) {
			t.Errorf("with bit %d changed it is recognised", i)
		}
	}
}

// TestLabelsOnTheWay has two dialers ask a node through another one, twice each.
func TestLabelsOnTheWay(t *testing.T) {
	w := newWorld(t)
	far, at := w.listening(t)
	came := make(chan Route, 8)
	far.HandleOpen("svc", func(_ context.Context, q *Request) error {
		came <- slices.Clone(q.Message.Return)
		return reply(q, func([]byte) {})
	})
	_, middle := w.listening(t, anywhere)
	_, edge := w.listening(t, anywhere, func(c *Config) { c.OpenForward = false })
	near := w.node(t)
	hears := func(n *Node, r Route) Route {
		if got, err := ask(t, n, append(r, at, svc("svc")), "hello"); got != "hello" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		return testkit.Within(t, came, "message")
	}
	first, second := hears(near, Route{middle}), hears(near, Route{middle})
	if len(first) != 2 || first[0] != second[0] || first[1] == second[1] {
		t.Errorf("messages of one source came by %x and %x", first, second)
	}
	direct, again := hears(near, nil), hears(near, nil)
	if len(direct) != 1 || direct[0] == again[0] {
		t.Errorf("messages of a dialer came with %x and %x", direct, again)
	}
	known, other := hears(near, Route{edge, secure()}), hears(near, Route{edge, secure()})
	if known[0] != other[0] || known[0] == first[0] {
		t.Errorf("messages of one identity came by %x and %x", known, other)
	}
}

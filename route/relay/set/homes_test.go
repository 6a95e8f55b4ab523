package set_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/secureportal/sp/route/relay/set"
)

// names is how many names the properties below are measured with.
const names = 3_000

func name(i int) string { return fmt.Sprintf("name-%d", i) }

// within fails unless got is what is to be expected of n tries of probability p, give or take five
// standard deviations.
func within(t *testing.T, what string, got, n int, p float64) {
	t.Helper()
	mean := float64(n) * p
	if deviation := math.Sqrt(mean * (1 - p)); math.Abs(float64(got)-mean) > 5*deviation {
		t.Errorf("%s: %d of %d, want %.0f ± %.0f", what, got, n, mean, 5*deviation)
	}
}

// firsts counts for which of the names each node is home k.
func firsts(l *set.List, k int) map[set.NodeID]int {
	counts := make(map[set.NodeID]int)
	for i := range names {
		counts[l.Homes(name(i))[k].ID]++
	}
	return counts
}

// TestBalance has each node be the first, and the second, home of its part of the names.
func TestBalance(t *testing.T) {
	for _, n := range []int{2, 3, 5, 20} {
		l := newList(t, same(n, 1)...)
		for k := range 2 {
			for id, got := range firsts(l, k) {
				within(t, fmt.Sprintf("home %d of %d: %v", k+1, n, id), got, names, 1/float64(n))
			}
		}
	}
}

// TestWeights has a node of weight w be the first home of as many names as w nodes would.
func TestWeights(t *testing.T) {
	l := newList(t, 1, 2, 3, 16, 8, 1)
	counts := firsts(l, 0)
	for _, n := range l.Nodes {
		within(t, fmt.Sprintf("weight %d", n.Weight), counts[n.ID], names, float64(n.Weight)/31)
	}
}

// TestLeaving has a node leave: in every name's order the others stay as they were.
func TestLeaving(t *testing.T) {
	before := newList(t, 1, 2, 1, 4, 1, 16, 1)
	for _, gone := range before.Nodes {
		after := before.Clone()
		after.Remove(gone.ID)
		for i := range names / 10 {
			want := ids(before.Homes(name(i)))
			want = slices.DeleteFunc(want, func(id set.NodeID) bool { return id == gone.ID })
			if got := ids(after.Homes(name(i))); !slices.Equal(got, want) {
				t.Fatalf("%s: without %v: %v, want %v", name(i), gone.ID, got, want)
			}
		}
	}
}

// TestGrowing has a node get more weight: names move to it, and between others none does.
func TestGrowing(t *testing.T) {
	before := newList(t, 1, 2, 3, 4)
	for at := range before.Nodes {
		after := before.Clone()
		after.Nodes[at].Weight++
		grown := after.Nodes[at].ID
		for i := range names / 10 {
			was, is := before.Homes(name(i))[0].ID, after.Homes(name(i))[0].ID
			if was != is && is != grown {
				t.Fatalf("%s moves from %v to %v, and %v has grown", name(i), was, is, grown)
			}
		}
	}
}

func ids(nodes []set.Node) []set.NodeID {
	all := make([]set.NodeID, len(nodes))
	for i, n := range nodes {
		all[i] = n.ID
	}
	return all
}

// TestHomesOf has what else than ids and weights may be in a list, and names of any length.
func TestHomesOf(t *testing.T) {
	l := newList(t, 1, 2, 3)
	for _, name := range []string{"", "db", strings.Repeat("n", 69), strings.Repeat("n", 1000)} {
		want := ids(l.Homes(name))
		other := l.Clone()
		other.Version++
		for i := range other.Nodes {
			other.Nodes[i].Epoch++
			other.Nodes[i].State = set.Draining
			other.Nodes[i].Addresses = nil
		}
		if got := ids(other.Homes(name)); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
	if homes := (&set.List{}).Homes("db"); len(homes) > 0 {
		t.Errorf("homes on no nodes: %v", homes)
	}
}

func TestClaims(t *testing.T) {
	l := newList(t, same(5, 1)...)
	homes := l.Homes("db")
	at := slices.IndexFunc(l.Nodes, func(n set.Node) bool { return n.ID == homes[1].ID })
	l.Nodes[at].State = set.Draining
	up := []set.NodeID{homes[0].ID, homes[2].ID, homes[3].ID, homes[4].ID}
	for k := -1; k < 8; k++ {
		want := up[:min(max(k, 0), len(up))]
		if got := ids(l.Claims("db", k)); !slices.Equal(got, want) {
			t.Errorf("%d: %v, want %v", k, got, want)
		}
	}
}

func BenchmarkHomes(b *testing.B) {
	for _, weight := range []uint8{1, set.MaxWeight} {
		b.Run(fmt.Sprintf("weight=%d", weight), func(b *testing.B) {
			l := newList(b, same(set.MaxNodes, weight)...)
			b.ReportAllocs()
			for b.Loop() {
				l.Homes("customer-1234.example.com")
			}
		})
	}
}

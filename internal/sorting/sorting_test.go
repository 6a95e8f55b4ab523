package sorting

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSorting(t *testing.T) {
	type pair struct{ key, place int }
	for n := range 100 {
		all := make([]pair, n)
		for i := range all {
			all[i] = pair{rand.N(10), i}
		}
		byKey := func(a, b pair) int { return cmp.Compare(a.key, b.key) }
		byBoth := func(a, b pair) int { return cmp.Or(byKey(a, b), cmp.Compare(a.place, b.place)) }
		sorted, stable := slices.Clone(all), slices.Clone(all)
		Func(sorted, byBoth)
		Stable(stable, byKey)
		slices.SortFunc(all, byBoth)
		if !slices.Equal(sorted, all) || !slices.Equal(stable, all) {
			t.Errorf("%v and %v, want %v", sorted, stable, all)
		}
	}
}

// Package sorting sorts what people look at. It does what SortFunc and SortStableFunc of package
// slices do, which make a program 15 to 25 KB larger for each kind of element, with a hundredth of
// that and in somewhat more time. It is not for what is done for each connection.
package sorting

import "sort"

type by[T any] struct {
	all     []T
	compare func(a, b T) int
}

func (s by[T]) Len() int           { return len(s.all) }
func (s by[T]) Less(i, j int) bool { return s.compare(s.all[i], s.all[j]) < 0 }
func (s by[T]) Swap(i, j int)      { s.all[i], s.all[j] = s.all[j], s.all[i] }

// Func sorts all in place, the smallest first, in n log n steps. compare is as for slices.SortFunc.
// Which of equal elements is first is undefined.
func Func[T any](all []T, compare func(a, b T) int) { sort.Sort(by[T]{all, compare}) }

// Stable is Func, but keeps equal elements in the order in which they are.
func Stable[T any](all []T, compare func(a, b T) int) { sort.Stable(by[T]{all, compare}) }

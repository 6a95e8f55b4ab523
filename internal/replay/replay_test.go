package replay

import (
	"math"
	"slices"
	"testing"
)

// The sizes that are in use: for flows of a session, and for links that wait at a relay.
const large, small = 1 << 14, 64

// model is a filter that remembers everything.
type model struct {
	size uint64
	next uint64
	used map[uint64]bool
}

func (m *model) use(n uint64) bool {
	if n == math.MaxUint64 || m.used[n] || n < m.next && m.next-n > m.size {
		return false
	}
	m.used[n] = true
	m.next = max(m.next, n+1)
	return true
}

// The numbers that have not been used are told, the highest first, as far back as is remembered.
func TestUnused(t *testing.T) {
	f := NewFilter(small)
	if highest, below := f.Unused(10); highest != 0 || below != nil {
		t.Errorf("%d, %v of none", highest, below)
	}
	for _, n := range []uint64{1, 2, 5, 7} {
		f.Use(n)
	}
	highest, below := f.Unused(10)
	if highest != 7 || !slices.Equal(below, []uint64{6, 4, 3}) {
		t.Errorf("%d, %v", highest, below)
	}
	if _, below = f.Unused(2); !slices.Equal(below, []uint64{6, 4}) {
		t.Errorf("%v, and two were asked for", below)
	}
	f.Use(1000)
	highest, below = f.Unused(1000)
	if last := len(below) - 1; highest != 1000 || last != small-2 || f.Use(below[last]-1) {
		t.Errorf("%d, and %d below", highest, last+1)
	}
	if !f.Use(below[len(below)-1]) {
		t.Error("one that is told to be unused is refused")
	}
}

func TestFilter(t *testing.T) {
	for _, size := range []uint64{large, small} {
		f := NewFilter(int(size))
		for _, step := range []struct {
			n    uint64
			want bool
		}{
			{0, true},
			{0, false},
			{1, true},
			{1, false},
			{3, true},
			{2, true},
			{2, false},
			{size, true},
			{size + 3, true},
			{4, true},
			{3, false},
			{5, true},
			{1 << 40, true},
			{1<<40 - size, false},
			{1<<40 - size + 1, true},
			{math.MaxUint64 - 1, true},
			{math.MaxUint64, false},
			{math.MaxUint64 - 1, false},
			{math.MaxUint64 - 2, true},
			{6, false},
		} {
			if got := f.Use(step.n); got != step.want {
				t.Errorf("size %d: Use(%d) = %v", size, step.n, got)
			}
		}
	}
}

// A size that is no multiple of 64 is rounded up.
func TestFilterSize(t *testing.T) {
	for size, want := range map[int]uint64{-1: 64, 0: 64, 1: 64, 64: 64, 65: 128} {
		f := NewFilter(size)
		f.Use(1000)
		if !f.Use(1001-want) || f.Use(1000-want) {
			t.Errorf("a filter of size %d does not remember %d numbers", size, want)
		}
	}
}

// Each byte pair moves the number by what it says, back or forth, in steps of very different sizes.
func FuzzFilter(f *testing.F) {
	f.Add([]byte{1, 1, 1, 1, 129, 1, 14, 1, 142, 1})
	f.Add([]byte{63, 1, 0, 0, 128, 1, 14, 255, 142, 255})
	f.Add([]byte{14, 1, 13, 1, 141, 2, 0, 1, 128, 3, 63, 2, 62, 3, 200, 9})
	f.Add([]byte{6, 1, 5, 1, 133, 2, 0, 1, 128, 3, 63, 2, 62, 3, 200, 9})
	f.Fuzz(func(t *testing.T, steps []byte) {
		for _, size := range []uint64{large, small} {
			filter := NewFilter(int(size))
			m := model{size: size, used: make(map[uint64]bool)}
			var n uint64
			for rest := steps; len(rest) >= 2; rest = rest[2:] {
				by := uint64(rest[1]) << (rest[0] % 64)
				if rest[0] < 128 {
					n += by
				} else {
					n -= by
				}
				if got, want := filter.Use(n), m.use(n); got != want {
					t.Fatalf("size %d: Use(%d) = %v, want %v", size, n, got, want)
				}
			}
		}
	})
}

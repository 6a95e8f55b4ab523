package channel

import (
	"math"
	"testing"
)

// windowModel is a window that remembers everything.
type windowModel struct {
	next uint64
	used map[uint64]bool
}

func (m *windowModel) use(n uint64) bool {
	if n == 0 || n == math.MaxUint64 || m.used[n] || n < m.next && m.next-n > windowSize {
		return false
	}
	m.used[n] = true
	m.next = max(m.next, n+1)
	return true
}

func TestWindow(t *testing.T) {
	var w window
	for _, step := range []struct {
		n    uint64
		want bool
	}{
		{0, false},
		{1, true},
		{1, false},
		{3, true},
		{2, true},
		{2, false},
		{windowSize, true},
		{windowSize + 3, true},
		{4, true},
		{3, false},
		{5, true},
		{1 << 40, true},
		{1<<40 - windowSize, false},
		{1<<40 - windowSize + 1, true},
		{math.MaxUint64 - 1, true},
		{math.MaxUint64, false},
		{math.MaxUint64 - 1, false},
		{math.MaxUint64 - 2, true},
		{6, false},
	} {
		if got := w.use(step.n); got != step.want {
			t.Errorf("use(%d) = %v", step.n, got)
		}
	}
}

// Each byte pair moves the number by what it says, back or forth, in steps of very different sizes.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{1, 1, 1, 1, 129, 1, 14, 1, 142, 1})
	f.Add([]byte{63, 1, 0, 0, 128, 1, 14, 255, 142, 255})
	f.Add([]byte{14, 1, 13, 1, 141, 2, 0, 1, 128, 3, 63, 2, 62, 3, 200, 9})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var w window
		m := windowModel{used: make(map[uint64]bool)}
		var n uint64
		for ; len(steps) >= 2; steps = steps[2:] {
			by := uint64(steps[1]) << (steps[0] % 64)
			if steps[0] < 128 {
				n += by
			} else {
				n -= by
			}
			if got, want := w.use(n), m.use(n); got != want {
				t.Fatalf("use(%d) = %v, want %v", n, got, want)
			}
		}
	})
}

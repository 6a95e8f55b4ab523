package channel

import (
	"math"
	"sync"
)

// windowSize is how many flows may overtake one that was numbered before them.
const windowSize = 1 << 14

// window remembers which flow numbers have been used. Numbers that are more than windowSize behind the highest count
// as used. It is safe for concurrent use.
type window struct {
	mu   sync.Mutex
	next uint64 // one more than the highest number used
	used [windowSize / 64]uint64
}

// use reports whether n had not been used, and marks it as used.
func (w *window) use(n uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case n == 0, n == math.MaxUint64: // the control flow's, and one that has no successor
		return false
	case n >= w.next:
		w.forget(n)
		w.next = n + 1
	case w.next-n > windowSize:
		return false
	}
	word, bit := &w.used[n%windowSize/64], uint64(1)<<(n%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// forget clears the places of the numbers from next to n, which stood for numbers that now count as used.
func (w *window) forget(n uint64) {
	if n-w.next >= windowSize {
		clear(w.used[:])
		return
	}
	for i := w.next; i <= n; i++ {
		w.used[i%windowSize/64] &^= 1 << (i % 64)
	}
}

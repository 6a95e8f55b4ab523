// Package replay remembers which numbers have been used, so that none is accepted twice.
//
// It keeps as many as it is told to, and no more: a number too far behind the highest one counts as
// used. It knows nothing of what is numbered, and never waits.
package replay

import (
	"math"
	"sync"
)

const wordBits = 64

// Filter accepts each number once. It is safe for concurrent use.
type Filter struct {
	size uint64 // set once: how many numbers back from the highest it remembers

	mu   sync.Mutex
	next uint64   // one more than the highest number used
	used []uint64 // bit n%size: n has been used; as long as it has had to be
}

// NewFilter returns a filter that remembers the last size numbers: size-1 numbers may be overtaken
// by a higher one and are still accepted. size is rounded up to a multiple of 64.
func NewFilter(size int) *Filter {
	words := max(1, (size+wordBits-1)/wordBits)
	return &Filter{size: uint64(words) * wordBits}
}

// Use reports whether n had not been used, and marks it as used. The highest uint64 is never
// accepted, since nothing can follow it.
func (f *Filter) Use(n uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case n == math.MaxUint64:
		return false
	case n >= f.next:
		f.forgetLocked(n)
		f.next = n + 1
	case f.next-n > f.size:
		return false
	}
	word, bit := f.wordLocked(n), uint64(1)<<(n%wordBits)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// Unused returns the highest number used, or 0, and numbers below it that have not been, the
// highest first and most at most. Of what is too far behind, it says nothing.
func (f *Filter) Unused(most int) (highest uint64, below []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == 0 {
		return 0, nil
	}
	highest = f.next - 1
	for n := highest; n > 0 && f.next-n <= f.size && len(below) < most; n-- {
		if *f.wordLocked(n)&(1<<(n%wordBits)) == 0 {
			below = append(below, n)
		}
	}
	return highest, below
}

// wordLocked returns where the bit of a number is. Most filters see a few low numbers only.
func (f *Filter) wordLocked(n uint64) *uint64 {
	i := int(n % f.size / wordBits)
	if missing := i + 1 - len(f.used); missing > 0 {
		f.used = append(f.used, make([]uint64, missing)...)
	}
	return &f.used[i]
}

// forgetLocked clears the bits of the numbers from next to n. They stood for numbers that are now
// too far behind.
func (f *Filter) forgetLocked(n uint64) {
	if n-f.next >= f.size {
		clear(f.used)
		return
	}
	for i := f.next; i <= n; i++ {
		*f.wordLocked(i) &^= 1 << (i % wordBits)
	}
}

package netio

import (
	"runtime"
	"slices"
	"sync"

	"github.com/secureportal/sp/internal/budget"
)

// stack is buffers that nobody has. The last one that was given back is taken first, for it is the
// one that is most likely to have something in the processor's caches: a sync.Pool hands the oldest
// to whoever has given back none on his processor, so that all of them go round, as where one
// goroutine gives back what others take. Like one, it lets go of what nobody has
// taken between two collections of garbage, and of what is more than the process has to spare. What
// is kept for far ends comes back a lot at a time, and goes out again. It is safe for concurrent
// use.
type stack struct {
	mu      sync.Mutex
	all     []*Buffer
	unused  int   // of those, the first, that have not been taken since the last collection
	kept    int64 // the most bytes that were kept for far ends since then
	watches bool  // trim is to be called after the next one
}

// get returns nil if there is none.
func (s *stack) get() *Buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = max(s.kept, budget.Kept.Taken())
	last := len(s.all) - 1
	if last < 0 {
		return nil
	}
	b := s.all[last]
	s.all[last] = nil
	s.all = s.all[:last]
	s.unused = min(s.unused, last)
	return b
}

func (s *stack) put(b *Buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(len(s.all)+1)*int64(len(b.Bytes)) > budget.SpareFor(s.kept) {
		return
	}
	s.all = append(s.all, b)
	if !s.watches {
		s.watches = true
		s.watch()
	}
}

// watch has trim called after the next collection of garbage, which is when what nothing points to
// is found.
func (s *stack) watch() {
	garbage := new(struct{ never *stack })
	runtime.AddCleanup(garbage, (*stack).trim, s)
}

// trim lets go of what has not been taken since the collection of garbage before the last.
func (s *stack) trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.Delete(s.all, 0, s.unused)
	s.unused = len(s.all)
	s.kept = budget.Kept.Taken()
	if s.watches = len(s.all) > 0; s.watches {
		s.watch()
	}
}

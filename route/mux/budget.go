package mux

import (
	"sync/atomic"

	"github.com/secureportal/sp/internal/budget"
)

// Budget bounds what the other sides of some muxes may have this one keep for readers that do not
// read: the windows of their links beyond the first 256 KiB of each. It is safe for concurrent use.
type Budget struct {
	most  int64
	taken atomic.Int64
}

// NewBudget returns a budget of so many bytes, or of as many as the process may take now, if those
// are fewer.
func NewBudget(most int64) *Budget {
	return &Budget{most: min(most, budget.Process.Most())}
}

// take takes n bytes, or reports that so many are not there.
func (b *Budget) take(n int64) bool {
	if b.taken.Add(n) <= b.most {
		return true
	}
	b.taken.Add(-n)
	return false
}

func (b *Budget) give(n int64) { b.taken.Add(-n) }

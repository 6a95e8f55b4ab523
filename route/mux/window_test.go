package mux

import (
	"testing"
	"time"
)

// TestGrantWithinFrame reads while half of a frame is still on the way: all of it counts.
func TestGrantWithinFrame(t *testing.T) {
	own, all := NewBudget(maxWindow), NewBudget(0)
	now := time.Now()
	w := window{
		size: firstWindow, left: firstWindow, granted: now, budgets: [2]*Budget{own, all},
	}
	if !w.allows(firstWindow) || w.allows(firstWindow+1) {
		t.Fatal("the first window is not what is allowed")
	}
	const half = firstWindow / 2
	w.receive(half)
	more := w.grant(0, now) // the half that came has been read
	if got := w.left; got > firstWindow || more != half {
		t.Errorf("%d bytes may come, after a grant of %d", got, more)
	}
	w.receive(half)
	if kept := half + w.left; kept > firstWindow {
		t.Errorf("%d bytes may be kept without a budget", kept)
	}
}

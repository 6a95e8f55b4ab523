package mux

import (
	"testing"
	"time"

	"github.com/secureportal/sp/internal/budget"
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

// When memory is short a window shrinks as it is read, but never to nothing; when it is plenty
// again it is as before.
func TestWindowShrinksWhenMemoryIsShort(t *testing.T) {
	now := time.Now()
	w := window{
		size: firstWindow, left: firstWindow, granted: now, grown: now,
		budgets: [2]*Budget{NewBudget(maxWindow), NewBudget(maxWindow)},
	}
	all := budget.Process.Most()
	budget.Process.Take(all)
	read := func(n int) (more uint32) { // all that comes is read at once
		w.receive(n)
		now = now.Add(time.Second / 4)
		return w.grant(0, now)
	}
	if more := read(firstWindow - leastWindow); more != 0 {
		t.Errorf("%d bytes more are granted", more)
	}
	for range 10 {
		if more := read(leastWindow); more == 0 || w.left > leastWindow {
			t.Errorf("%d bytes more are granted, %d may come", more, w.left)
		}
	}
	budget.Process.Give(all)
	if read(leastWindow); w.left < firstWindow {
		t.Errorf("%d bytes may come when memory is plenty again", w.left)
	}
	for range 20 {
		read(w.left)
	}
	if w.size != maxWindow {
		t.Errorf("the window has grown to %d", w.size)
	}
}

// A window does not grow for a reader who has only just begun.
func TestWindowGrowsInTime(t *testing.T) {
	now := time.Now()
	w := window{
		size: firstWindow, left: firstWindow, granted: now, grown: now,
		budgets: [2]*Budget{NewBudget(maxWindow), NewBudget(maxWindow)},
	}
	for range 100 {
		w.receive(w.left)
		w.grant(0, now)
	}
	if w.size != firstWindow {
		t.Errorf("the window has grown to %d at once", w.size)
	}
	now = now.Add(growPause)
	w.receive(w.left)
	if w.grant(0, now); w.size != 2*firstWindow {
		t.Errorf("the window is %d", w.size)
	}
}

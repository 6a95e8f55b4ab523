package testkit

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// Bubble is synctest.Test for what uses yamux. That keeps timers for whoever comes next, and none
// may get into the bubble or out of it: two collections of garbage empty a sync.Pool.
func Bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	empty := func() {
		runtime.GC()
		runtime.GC()
	}
	empty()
	defer empty()
	synctest.Test(t, test)
}

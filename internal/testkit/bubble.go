package testkit

import (
	"bytes"
	"regexp"
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

// Goroutines returns how many goroutines the bubble has that the caller is in, the caller included.
// Those of the runtime and of other tests do not count, which runtime.NumGoroutine takes as well.
func Goroutines() int {
	all := make([]byte, 1<<16)
	n := runtime.Stack(all, true)
	for n == len(all) {
		all = make([]byte, 2*len(all))
		n = runtime.Stack(all, true)
	}
	all = all[:n] // the caller's comes first
	return bytes.Count(all, append(bubbleOf.Find(all), ']', ':', '\n'))
}

// bubbleOf finds what the first goroutine's header says of its bubble.
var bubbleOf = regexp.MustCompile(`synctest bubble \d+`)

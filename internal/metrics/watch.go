package metrics

import "sync/atomic"

// watching is what is closed at the next change, or nil where nobody waits for that.
var watching atomic.Pointer[chan struct{}]

// Watch returns a channel that is closed when something is counted next, or a gauge becomes
// another. All who ask before that get the same one, and nobody has to end it. What is only
// measured, by a histogram or by a function, is not told.
func Watch() <-chan struct{} {
	for {
		if c := watching.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		if watching.CompareAndSwap(nil, &c) {
			return c
		}
	}
}

// Changed says that something has happened that others count, with a function.
func Changed() {
	if watching.Load() != nil {
		told()
	}
}

// told ends what Watch has returned.
func told() {
	if c := watching.Load(); c != nil && watching.CompareAndSwap(c, nil) {
		close(*c)
	}
}

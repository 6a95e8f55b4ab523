package testkit

import (
	"testing"
	"testing/synctest"
)

// TestGoroutines counts those of a bubble and of no other.
func TestGoroutines(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	for range 3 {
		go func() { <-end }()
	}
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		before := Goroutines()
		for range 100 {
			go func() { <-wait }()
		}
		synctest.Wait()
		if more := Goroutines() - before; more != 100 {
			t.Errorf("%d goroutines more, and 100 have been started", more)
		}
		close(wait)
		synctest.Wait()
		if more := Goroutines() - before; more != 0 {
			t.Errorf("%d goroutines more, and all have ended", more)
		}
	})
}

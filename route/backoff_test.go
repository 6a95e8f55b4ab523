package route

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backoff
		wait := func(lived time.Duration) time.Duration {
			t.Helper()
			begin := time.Now()
			if !b.wait(t.Context(), lived, nil) {
				t.Fatal("it gave up")
			}
			return time.Since(begin)
		}
		most := firstRetry
		for i := range 12 {
			if got := wait(0); got < most/2 || got > most {
				t.Errorf("wait %d: %v, want %v to %v", i, got, most/2, most)
			}
			most = min(2*most, lastRetry)
		}
		if most != lastRetry {
			t.Errorf("12 failures only lead to %v", most)
		}
		if got := wait(stableAfter - 1); got < shakyRetry/2 || got > shakyRetry {
			t.Errorf("what lived for less than %v was tried again after %v", stableAfter, got)
		}
		if got := wait(stableAfter); got != 0 {
			t.Errorf("what lived long was tried again after %v", got)
		}
		if got := wait(0); got > firstRetry {
			t.Errorf("the first failure after it: %v", got)
		}
	})
}

func TestBackoffEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backoff
		ctx, cancel := context.WithTimeout(t.Context(), firstRetry/4)
		defer cancel()
		begin := time.Now()
		if b.wait(ctx, 0, nil) || time.Since(begin) != firstRetry/4 {
			t.Errorf("it went on after %v", time.Since(begin))
		}
		if b.wait(ctx, time.Hour, nil) {
			t.Error("it went on at once")
		}
	})
}

// TestBackoffHurries checks that somebody who waits shortens a long delay, and never below hurriedRetry.
func TestBackoffHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backoff{delay: lastRetry}
		hurry := make(chan struct{}, 1)
		hurry <- struct{}{}
		begin := time.Now()
		if !b.wait(t.Context(), 0, hurry) || time.Since(begin) != hurriedRetry {
			t.Errorf("it waited %v, want %v", time.Since(begin), hurriedRetry)
		}
	})
}

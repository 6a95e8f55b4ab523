package route

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/wire"
)

// TestBackoff checks how long is waited after failures: never much longer than recentRetry while
// something is likely to come back, and up to lastRetry later, or where somebody has decided
// against it.
func TestBackoff(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		patient bool // from the beginning
	}{
		"unreachable": {errors.New("connection refused"), false},
		"no service":  {&StatusError{Code: wire.NoService}, false},
		"not trusted": {fmt.Errorf("far end: %w", trust.ErrNotTrusted), true},
		"superseded":  {decidedError{}, true},
		"name taken":  {&StatusError{Code: wire.NameTaken}, true},
		"hearsay":     {&StatusError{Code: wire.NameTaken, Hearsay: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b Backoff
				begin, want := time.Now(), firstRetry
				for want < lastRetry {
					limit := recentRetry
					if c.patient || time.Since(begin) >= recently {
						limit = lastRetry
					}
					want = min(want, limit)
					if got := waits(t, &b, 0, c.err); got < want/2 || got > want {
						t.Fatalf("after %v: %v, want %v to %v", time.Since(begin), got, want/2,
							want)
					}
					want *= 2
				}
			})
		})
	}
}

// TestBackoffForgets checks that what has lived is tried again at once, or soon if that was not
// long.
func TestBackoffForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{delay: lastRetry, since: time.Now().Add(-time.Hour)}
		if got := waits(t, &b, stableAfter-1, nil); got < recentRetry/2 || got > recentRetry {
			t.Errorf("what lived for less than %v was tried again after %v", stableAfter, got)
		}
		if got := waits(t, &b, stableAfter, nil); got != 0 {
			t.Errorf("what lived long was tried again after %v", got)
		}
		if got := waits(t, &b, 0, nil); got > firstRetry {
			t.Errorf("the first failure after it: %v", got)
		}
	})
}

// TestBackoffIsPatientWithDecisions checks that haste does not help where somebody has decided
// against it.
func TestBackoffIsPatientWithDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{delay: lastRetry, since: time.Now()}
		retryNow := make(chan struct{}, 1)
		retryNow <- struct{}{}
		begin := time.Now()
		if !b.Wait(t.Context(), 0, trust.ErrNotTrusted, retryNow) ||
			time.Since(begin) < lastRetry/2 {
			t.Errorf("it waited %v", time.Since(begin))
		}
	})
}

// waits returns how long b waits.
func waits(t *testing.T, b *Backoff, lived time.Duration, err error) time.Duration {
	t.Helper()
	begin := time.Now()
	if !b.Wait(t.Context(), lived, err, nil) {
		t.Fatal("it gave up")
	}
	return time.Since(begin)
}

func TestBackoffEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Backoff
		ctx, cancel := context.WithTimeout(t.Context(), firstRetry/4)
		defer cancel()
		begin := time.Now()
		if b.Wait(ctx, 0, nil, nil) || time.Since(begin) != firstRetry/4 {
			t.Errorf("it went on after %v", time.Since(begin))
		}
		if b.Wait(ctx, time.Hour, nil, nil) {
			t.Error("it went on at once")
		}
	})
}

// TestBackoffRetriesNow checks that somebody who waits shortens a long delay, and never below
// hurriedRetry.
func TestBackoffRetriesNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{delay: lastRetry}
		retryNow := make(chan struct{}, 1)
		retryNow <- struct{}{}
		begin := time.Now()
		if !b.Wait(t.Context(), 0, nil, retryNow) || time.Since(begin) != retryNowAfter {
			t.Errorf("it waited %v, want %v", time.Since(begin), retryNowAfter)
		}
	})
}

// decidedError is an error of another package that says so.
type decidedError struct{}

func (decidedError) Error() string { return "superseded" }

func (decidedError) Decided() bool { return true }

// TestBackoffOnAnotherNetwork checks that another network ends the waiting, once, and with it what
// has failed so far; what somebody has decided is tried once. An attempt that was begun on the
// network before does not count.
func TestBackoffOnAnotherNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(Node)
		b := n.NewBackoff()
		b.delay, b.since = lastRetry, time.Now().Add(-time.Hour)
		go func() {
			time.Sleep(time.Second)
			n.network.change()
		}()
		if got := waits(t, &b, 0, nil); got != time.Second {
			t.Errorf("it waited %v, and the network had changed after a second", got)
		}
		if got := waits(t, &b, 0, nil); got == 0 || got > firstRetry {
			t.Errorf("then it waited %v", got)
		}
		n.network.change() // while something is tried
		if got := waits(t, &b, 0, nil); got != 0 {
			t.Errorf("after an attempt on another network it waited %v", got)
		}
		b.delay = lastRetry
		n.network.change()
		if got := waits(t, &b, 0, trust.ErrNotTrusted); got != 0 {
			t.Errorf("what was decided on another network waited %v", got)
		}
		if got := waits(t, &b, 0, trust.ErrNotTrusted); got < lastRetry/2 {
			t.Errorf("what was decided on this one waited %v", got)
		}
	})
}

package tokenbucket

import (
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	rate := Rate{PerSecond: 10, Burst: 3}
	var b Bucket
	now := time.Unix(1000, 0)
	take := func() (n int) {
		for b.Take(rate, now) {
			n++
		}
		return n
	}
	if !b.IsFull(rate, now) {
		t.Error("a new bucket is not full")
	}
	for i, step := range []struct {
		after time.Duration
		want  int
	}{
		{0, 3},
		{99 * time.Millisecond, 0},
		{time.Millisecond, 1},
		{250 * time.Millisecond, 2},
		{50 * time.Millisecond, 1}, // the half token from before counts
		{time.Hour, 3},
		{-time.Second, 0}, // a clock that goes back gives nothing
	} {
		now = now.Add(step.after)
		if got := take(); got != step.want {
			t.Errorf("step %d: %d tokens, want %d", i, got, step.want)
		}
	}
	if b.IsFull(rate, now) || !b.IsFull(rate, now.Add(time.Hour)) {
		t.Error("a bucket is full at the wrong time")
	}
}

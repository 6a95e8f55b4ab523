package logthrottle

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	var r Throttle
	now := time.Unix(1e9, 0)
	short := fmt.Errorf("accept: %w", syscall.EMFILE)
	for _, step := range []struct {
		after time.Duration
		err   error
		want  slog.Level
	}{
		{0, short, slog.LevelWarn},
		{time.Second, short, slog.LevelDebug},
		{0, errors.New("another"), slog.LevelWarn},
		{interval, syscall.ENFILE, slog.LevelWarn},
		{interval - 1, short, slog.LevelDebug},
	} {
		now = now.Add(step.after)
		if got := r.Level(step.err, now); got != step.want {
			t.Errorf("%v after %v: %v, want %v", step.err, step.after, got, step.want)
		}
	}
}

func TestFlood(t *testing.T) {
	var f Flood
	now := time.Unix(1e9, 0)
	count := func(n int) (due, left int) {
		for range n {
			if ok, more := f.Due(now); ok {
				due++
				left += more
			}
		}
		return due, left
	}
	if due, left := count(1000); due != floodBurst || left != 0 {
		t.Errorf("%d reports at once, %d left out", due, left)
	}
	now = now.Add(3 * floodInterval)
	if due, left := count(1000); due != 3 || left != 1000-floodBurst {
		t.Errorf("%d reports after a while, %d left out", due, left)
	}
	now = now.Add(time.Hour)
	if due, left := count(1000); due != floodBurst || left != 997 {
		t.Errorf("%d reports after an hour, %d left out", due, left)
	}
}

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

// A flood of one source does not hide what others have to say, and all floods together are bounded:
// their lines, and what is kept of them.
func TestSources(t *testing.T) {
	var s Sources[int]
	now := time.Unix(1e9, 0)
	lines := func(source, n int) (due, left int) {
		for range n {
			if ok, more := s.Due(source, now); ok {
				due++
				left += more
			}
		}
		return due, left
	}
	if due, _ := lines(1, 10_000); due != floodBurst {
		t.Errorf("%d lines of a flood", due)
	}
	if due, _ := lines(2, 1); due != 1 {
		t.Error("a source is not heard in the flood of another")
	}
	now = now.Add(floodInterval)
	if due, left := lines(1, 1); due != 1 || left != 10_000-floodBurst {
		t.Errorf("%d lines, %d left out", due, left)
	}
	now = now.Add(time.Hour)
	all := 0
	for source := range 10 * maxSources {
		due, _ := lines(source, 2)
		all += due
	}
	if all != floodsAtOnce*floodBurst {
		t.Errorf("%d lines at once of very many sources", all)
	}
	if len(s.of) != maxSources {
		t.Errorf("%d sources are kept, of at most %d", len(s.of), maxSources)
	}
	now = now.Add(time.Hour)
	if due, _ := lines(-1, 1); due != 1 || len(s.of) != 1 {
		t.Errorf("%d lines after an hour, and %d sources are kept", due, len(s.of))
	}
}

package seldom

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	var r Report
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

package daemon

import "golang.org/x/sys/unix"

// monotonicMicroseconds is what systemd's own clock shows.
func monotonicMicroseconds() (int64, bool) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, false
	}
	return now.Nano() / 1000, true
}

//go:build !linux

package daemon

// monotonicMicroseconds is not known where there is no systemd.
func monotonicMicroseconds() (int64, bool) { return 0, false }

//go:build unix

package daemon

import (
	"math"

	"golang.org/x/sys/unix"
)

// maxOpenFiles returns how many files the process may open.
func maxOpenFiles() (n int, known bool) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return int(min(uint64(limit.Cur), math.MaxInt32)), true
}

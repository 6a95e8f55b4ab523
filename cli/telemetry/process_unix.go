//go:build unix

package telemetry

import (
	"syscall"
	"time"

	"github.com/secureportal/sp/internal/metrics"
)

func init() {
	metrics.NewSecondsFunc("process_cpu_seconds_total", "time that processors have spent on the "+
		"process", cpuTime)
}

// cpuTime is what the processors have done for this process.
func cpuTime() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

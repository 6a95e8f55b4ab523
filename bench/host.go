//go:build linux

package main

import (
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/secureportal/sp/bench/internal/report"
)

// host says where the figures are from; what cannot be read is left out.
func host(o options) report.Host {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return report.Host{
		Date:        time.Now(),
		CPU:         processor(),
		Cores:       runtime.NumCPU(),
		Kernel:      strings.TrimSpace(string(kernel)),
		Go:          runtime.Version(),
		Repetitions: o.reps,
		Flags:       o.text,
	}
}

func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

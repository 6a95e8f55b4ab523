//go:build linux

package main

import (
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/secureportal/sp/bench/internal/processor"
	"github.com/secureportal/sp/bench/internal/report"
)

// host says where the figures are from; what cannot be read is left out.
func host(o options) report.Host {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	p, speed := processor.Here(), processor.Measure()
	return report.Host{
		Date:             time.Now(),
		CPU:              p.Model,
		Cores:            runtime.NumCPU(),
		AESInstructions:  p.Instructions,
		AES256GCM:        speed.AES256GCM,
		ChaCha20Poly1305: speed.ChaCha20Poly1305,
		Kernel:           strings.TrimSpace(string(kernel)),
		Go:               runtime.Version(),
		Repetitions:      o.reps,
		Flags:            o.text,
	}
}

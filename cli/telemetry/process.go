package telemetry

import (
	"runtime"
	"strings"
	"time"

	"github.com/secureportal/sp/internal/metrics"
)

// What there is of every process goes by the names that dashboards know.
const (
	ofProcess = "process_"
	ofGo      = "go_"
)

func isOfProcess(name string) bool {
	return strings.HasPrefix(name, ofProcess) || strings.HasPrefix(name, ofGo)
}

var started = time.Now()

func init() {
	metrics.NewGaugeFunc("process_start_time_seconds", "when the process began, since 1970",
		func() float64 { return float64(started.UnixMilli()) / 1000 })
	metrics.NewGaugeFunc("go_goroutines", "goroutines that exist",
		func() float64 { return float64(runtime.NumGoroutine()) })
}

// about is which program this is.
func about(version string) metrics.Sample {
	return metrics.Sample{
		Name: "build_info", Help: "which build of sp this is; always 1", Kind: metrics.KindGauge,
		Value: 1,
		Labels: []metrics.Label{
			{Name: "version", Value: version}, {Name: "goversion", Value: runtime.Version()},
		},
	}
}

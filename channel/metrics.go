package channel

import "github.com/secureportal/sp/internal/metrics"

var (
	flowsSuspended = metrics.NewGauge("flows_suspended",
		"connections that have lost their link and wait for another one")
	flowsResumed = metrics.NewCounter("flows_resumed_total",
		"connections that have gone on with another link")
)

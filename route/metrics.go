package route

import "github.com/secureportal/sp/internal/metrics"

// What all nodes of the process count.
var (
	pathChanges = metrics.NewCounter("path_changes_total",
		"times that new streams were moved to another path")
)

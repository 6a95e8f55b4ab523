package portal

import (
	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/netio"
)

// What goes through the inlets and the outlets of this process. An inlet's application is the
// client, an outlet's the service.
var (
	inletTally  = netio.NewTally("inlet", true)
	outletTally = netio.NewTally("outlet", false)

	inletOpening = metrics.NewHistogram("open_seconds",
		"time from a connection to its being open", roleLabel("inlet"))
	outletOpening = metrics.NewHistogram("open_seconds",
		"time from a connection to its being open", roleLabel("outlet"))

	inletFailures = metrics.NewCounter("inlet_failures_total",
		"connections of applications for which no stream could be opened")
	outletRefusals = metrics.NewCounter("outlet_refusals_total",
		"streams refused because the service could not be dialed, or may not be reached")
)

func roleLabel(role string) metrics.Label { return metrics.Label{Name: "role", Value: role} }

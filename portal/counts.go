package portal

import "github.com/secureportal/sp/internal/metrics"

// counts are the connections that go through the inlets, or the outlets, of this process. Bytes are
// known, and counted, when a connection has ended.
type counts struct {
	now        *metrics.Gauge
	total      *metrics.Counter
	toStream   *metrics.Counter
	fromStream *metrics.Counter
}

func newCounts(kind string) counts {
	label := metrics.Label{Name: "portal", Value: kind}
	return counts{
		now: metrics.NewGauge("portal_connections",
			"connections that are open", label),
		total: metrics.NewCounter("portal_connections_total",
			"connections that have been opened", label),
		toStream: metrics.NewCounter("portal_bytes_sent_total",
			"bytes to the far end, of connections that have ended", label),
		fromStream: metrics.NewCounter("portal_bytes_received_total",
			"bytes from the far end, of connections that have ended", label),
	}
}

var (
	inletCounts  = newCounts("inlet")
	outletCounts = newCounts("outlet")

	inletFailures = metrics.NewCounter("inlet_failures_total",
		"connections of applications for which no stream could be opened")
	outletRefusals = metrics.NewCounter("outlet_refusals_total",
		"streams refused because the service could not be dialed")
)

package route

import (
	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/wire"
)

// What all nodes of the process count.
var (
	linksAccepted = metrics.NewCounter("links_accepted_total", "links that have come in")
	linksDialed   = metrics.NewCounter("links_dialed_total", "links that have been made")
	dialsFailed   = metrics.NewCounter("link_dials_failed_total", "links that could not be made")
	linksStuck    = metrics.NewCounter("links_stuck_total",
		"links that were reset because nothing sent on them arrived")

	requestsOpen = metrics.NewGauge("requests_open",
		"requests and applications' connections that are served now")
	pathChanges = metrics.NewCounter("path_changes_total",
		"times that new streams were moved to another path")

	pathsSuspected = metrics.NewCounter("paths_suspected_total",
		"times that a path was silent while another one answered")

	streamsAgain = metrics.NewCounter("streams_opened_again_total",
		"streams that were opened again, because nothing of them had been carried")

	directNow = metrics.NewGauge("direct_ways",
		"sessions of this side's whose connections go directly, and not over the relay on the way")
	directMade   = directAttempts("made")
	directFailed = directAttempts("failed")

	requestsRefused = refusedByReason()
)

// directAttempts counts attempts to go without a relay.
func directAttempts(outcome string) *metrics.Counter {
	return metrics.NewCounter("direct_attempts_total",
		"attempts of this side to make a direct way in place of one over a relay",
		metrics.Label{Name: "outcome", Value: outcome})
}

// refusedByReason returns a counter for each status; OK has none.
func refusedByReason() (by [wire.NoSession + 1]*metrics.Counter) {
	for code := wire.BadMessage; code <= wire.NoSession; code++ {
		by[code] = metrics.NewCounter("requests_refused_total", "requests that were refused",
			metrics.Label{Name: "reason", Value: code.String()})
	}
	return by
}

// countRefusal counts a status that is sent and ends a request.
func countRefusal(code wire.Code) {
	if code != wire.OK && int(code) < len(requestsRefused) {
		requestsRefused[code].Inc()
	}
}

package admission

import "github.com/secureportal/sp/internal/metrics"

// What the process counts, of all its nodes.
var (
	unauthenticatedNow = metrics.NewGauge("links_unauthenticated",
		"links of which nothing is known yet")
	linksRefused = metrics.NewCounter("links_refused_total", "links that were refused",
		reason("unauthenticated"))
	relayedRefused = metrics.NewCounter("links_refused_total", "links that were refused",
		reason("unauthenticated by a relay"))
	linksOver = metrics.NewCounter("links_refused_total", "links that were refused",
		reason("descriptors"))
	ofIdentityRefused = metrics.NewCounter("links_refused_total", "links that were refused",
		reason("identity"))
	restingClosed = metrics.NewCounter("links_resting_closed_total",
		"links without a flow that were closed since their identity had too many")
	linksDisplaced = metrics.NewCounter("links_displaced_total",
		"unauthenticated links that had to make room for others")
	connectionsRefused = metrics.NewCounter("connections_refused_total",
		"connections that were refused",
		reason("limit"))
	targetsRefused = metrics.NewCounter("connections_refused_total",
		"connections that were refused", reason("descriptors"))
	handshakesRefused = metrics.NewCounter("handshakes_refused_total",
		"handshakes that were refused", reason("rate"))
	handshakesBusy = metrics.NewCounter("handshakes_refused_total",
		"handshakes that were refused", reason("busy"))
	turnsWaitingNow = metrics.NewGauge("handshakes_waiting", "handshakes that wait to compute")
)

func reason(text string) metrics.Label { return metrics.Label{Name: "reason", Value: text} }

// refusedBy counts a link that was refused a slot.
func refusedBy(w *Way) {
	if w == nil {
		linksRefused.Inc()
		return
	}
	relayedRefused.Inc()
}

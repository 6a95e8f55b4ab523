package admission

import "github.com/secureportal/sp/internal/metrics"

// What the process counts, of all its nodes.
var (
	unauthenticatedNow = metrics.NewGauge("links_unauthenticated",
		"links of which nothing is known yet")
	linksRefused = metrics.NewCounter("links_refused_total",
		"links that were refused since too many were unauthenticated")
	linksDisplaced = metrics.NewCounter("links_displaced_total",
		"unauthenticated links that had to make room for others")
	connectionsRefused = metrics.NewCounter("connections_refused_total",
		"connections over a limit, in all, of an identity or of a source")
	handshakesRefused = metrics.NewCounter("handshakes_refused_total",
		"handshakes over the rate of their source")
)

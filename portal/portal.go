// Package portal carries a TCP service to where it is not: an inlet accepts the applications' connections and opens a
// stream over a route for each, an outlet dials the service for each stream that reaches it, and each copies between
// the two. What one application ends, half-closes or resets, the other one sees ended, half-closed or reset.
//
// Dial and Listen are the same as a library: a net.Conn to, and a net.Listener for, streams over routes.
//
// Inlet and Outlet never see a key: who may open a stream is decided before they are asked.
package portal

import (
	"log/slog"
	"time"
)

// DefaultConnectTimeout is how long an inlet's connection waits for the far end, and an outlet for its target.
const DefaultConnectTimeout = 10 * time.Second

func loggerOr(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.Default()
	}
	return l
}

func orDefault(d time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return DefaultConnectTimeout
}

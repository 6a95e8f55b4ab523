// Package portal carries a TCP service to where it is not. An inlet accepts the applications'
// connections and opens a stream over a route for each; an outlet dials the service for each stream
// that reaches it; and each of the two copies between its connection and its stream. What one
// application ends, half-closes or resets, the other one sees ended, half-closed or reset.
//
//	application ── Inlet ══ stream, over a route ══ Outlet ── service
//
// Dial and Listen are the same without the applications: a net.Conn to, and a net.Listener for,
// streams over routes. A route may go through relays and bridges, which see ciphertext: who may
// open a stream is decided by the two ends, by their Identifiers, before an outlet or a listener
// is asked.
//
// Datagrams are carried the same way: an Inlet serves a udp.Listener, and an Outlet's Target may be
// udp://host:port. See package portal/udp.
//
// The package keeps no key, and decides nobody's trust: the node that it is given does.
package portal

import (
	"log/slog"
	"time"
)

// DefaultConnectTimeout is how long an inlet's connection waits for the far end, and an outlet for
// its target.
const DefaultConnectTimeout = 10 * time.Second

func loggerOr(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.Default()
	}
	return l
}

func orDefault(d time.Duration) time.Duration { return orElse(d, DefaultConnectTimeout) }

func orElse(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

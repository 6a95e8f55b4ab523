package channel

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/netio"
)

var (
	flowsSuspended = metrics.NewGauge("flows_suspended",
		"connections that have lost their link and wait for another one")
	flowsResumed = metrics.NewCounter("flows_resumed_total",
		"connections that have gone on with another link")
	sessionsNow = metrics.NewGauge("sessions_open", "sessions that are open")
	roundTrips  = metrics.NewHistogram("round_trip_seconds",
		"how long far ends took to answer pings, there and back")
)

// handshakeEnd is how a handshake has ended.
type handshakeEnd int

const (
	handshakeDone handshakeEnd = iota
	handshakeNotTrusted
	handshakeRefused
	handshakeTimeout
	handshakeCut
	handshakeWrong
)

// outcomes are the words for them.
var outcomes = [...]string{
	handshakeDone:       "done",
	handshakeNotTrusted: "not trusted",
	handshakeRefused:    "refused",
	handshakeTimeout:    "timeout",
	handshakeCut:        "link lost",
	handshakeWrong:      "wrong",
}

// handshakes are those of this process, by the part that it had.
var handshakes = map[identity.Role]*[len(outcomes)]*metrics.Counter{
	identity.Initiator: handshakesAs(identity.Initiator),
	identity.Responder: handshakesAs(identity.Responder),
}

func handshakesAs(role identity.Role) *[len(outcomes)]*metrics.Counter {
	var by [len(outcomes)]*metrics.Counter
	for i, word := range outcomes {
		by[i] = metrics.NewCounter("handshakes_total", "handshakes, by how they ended",
			metrics.Label{Name: "role", Value: role.String()},
			metrics.Label{Name: "outcome", Value: word})
	}
	return &by
}

// countHandshake counts a handshake that has ended with err.
func countHandshake(role identity.Role, err error) { handshakes[role][outcomeOf(err)].Inc() }

func outcomeOf(err error) handshakeEnd {
	switch {
	case err == nil:
		return handshakeDone
	case errors.Is(err, trust.ErrNotTrusted), errors.Is(err, ErrLeft):
		return handshakeNotTrusted
	case errors.Is(err, ErrBusy), errors.Is(err, ErrGoingAway), errors.Is(err, ErrWrongName),
		errors.Is(err, errTooMany):
		return handshakeRefused
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return handshakeTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, ErrCut),
		errors.Is(err, ErrClosed), errors.Is(err, context.Canceled), netio.IsReset(err):
		return handshakeCut
	}
	return handshakeWrong
}

// SessionsNow returns how many sessions are open in this process.
func SessionsNow() int64 { return sessionsNow.Value() }

// Package channel is the secure channel between two nodes over any net.Conn: the Noise handshake
// with the proof of both identities, sessions that outlive single connections, flows with keys of
// their own, and the record layer.
//
// Two nodes shake hands once, on the session's control link. Each connection after it is a Flow: a
// net.Conn whose keys are derived from the session's secret and a number that is accepted once. So
// it starts without a round trip.
//
//	initiator                                         responder
//	  hello: handshake, suite, e e1         ────────▶
//	                                        ◀────────  e ee ekem1 s es, proof of identity
//	  s se, proof of identity               ────────▶
//	                                        ◀────────  ready            (record of flow 0)
//	  ping, pong, handshake for new keys    ◀───────▶  (records of flow 0, as long as it lives)
//
//	  hello: flow, session, number, records ────────▶  (another link; any number of them, and
//	                                        ◀────────  on each one flow after the other)
//
//	record = length (2) | AEAD( type (1) | data )
//
// Each side decides whether to trust the other as soon as it has read the other's proof, and before
// it goes on.
//
// An Endpoint is one node's side of all its channels. A node that dials calls Endpoint.Initiate for
// a Session, and Session.Open for each Flow; a node that listens hands its connections to
// Endpoint.Serve.
//
// The package knows nothing of routes and portals. It dials nothing: the caller hands it
// connections. It logs nothing and writes no file. docs/PROTOCOL.md is the normative text.
package channel

import (
	"net"
	"time"
)

// Defaults of Config.
const (
	DefaultKeepalive           = 5 * time.Second // between two pings
	DefaultRenewAfter          = 5 * time.Minute // until new keys
	DefaultHandshakeTimeout    = 5 * time.Second // for all of it
	DefaultSessionsPerIdentity = 1024            // that a responder has at a time
)

// MaxMissedPongs is how many pings without an answer end a session.
const MaxMissedPongs = 3

// MaxSurvive is the longest that a flow may wait for another link. MinSurvive is the shortest, and
// what both sides count in.
const (
	MaxSurvive = 24 * time.Hour
	MinSurvive = time.Millisecond
)

// Limits and times that are not part of the protocol, and that nobody needs to change.
const (
	// pingSpeedup divides the time to the next ping while one is unanswered.
	pingSpeedup = 3
	// pingSlowdown multiplies the time to the next ping while nobody would miss the session, and
	// pingSlowest does where its link is a socket of its own: what a box in the middle bears is known
	// of those, and not of what carries many links.
	pingSlowdown = 4
	pingSlowest  = 8
	// pingGrace divides the time between two pings: so much longer the responder leaves them to the
	// initiator, and so little does not count.
	pingGrace = 8
	// minRenewAfter is the least time between two renewals of a session's keys, and maxRenewAfter
	// the most.
	minRenewAfter = 5 * time.Second
	maxRenewAfter = 50 * time.Minute
	// renewTimeout is how long a renewal of the keys may take before the session ends.
	renewTimeout = 15 * time.Second
	// maxEpochAge is how long a responder has the same keys. Whoever has got hold of them, and sits
	// in the initiator's place, begins no renewal.
	maxEpochAge = time.Hour
	// epochGrace is how long flows of replaced keys may still arrive.
	epochGrace = 30 * time.Second
	// maxOldEpochs is how many replaced keys a responder keeps: so often they may be renewed within
	// epochGrace.
	maxOldEpochs = 8
	// flowsRemembered is how far a flow may arrive behind one with a higher number.
	flowsRemembered = 1 << 14
	// reviewInterval is the time between two trust reviews that nothing calls for.
	reviewInterval = 30 * time.Second

	// linkIdleTimeout is how long an initiator keeps an idle link beyond those that it always
	// keeps.
	linkIdleTimeout = 10 * time.Second
	// linkIdleKept is how many idle links it always keeps, for whoever comes next, however late.
	linkIdleKept = 2
	// linkIdleMax is how many idle links it keeps at most.
	linkIdleMax = 256
	// restingMax is how many idle links a responder bears with.
	restingMax = 2 * linkIdleMax

	// abortTimeout is how long a side tries to tell the other one why a flow or a session ends.
	abortTimeout = time.Second
	// controlTimeout is how long the socket may take for one record on the control link.
	controlTimeout = 5 * time.Second
)

// Conn is what a channel runs over.
type Conn = net.Conn

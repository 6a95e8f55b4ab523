package mux

import (
	"errors"
	"time"
)

// Limits of a mux, and times that it waits.
const (
	// window is how many bytes may wait in one link for a reader that does not read. It is twice
	// what a line of 1 Gbit/s and 100 ms holds, as yamux gives a window back by halves.
	window       = 32 << 20
	backlog      = 256         // links that have been opened and not accepted
	writeTimeout = time.Minute // for the carrier to take bytes
	closeTimeout = time.Second // for the carrier's reader to notice that it is closed
)

// What the other side of a mux may have this one keep. yamux has no limits for these.
const (
	// MaxUnended is the usual number for Config.MaxUnended.
	MaxUnended   = 1024
	unendedFor   = 10 * time.Second // since a link was closed here, before it counts
	untakenAfter = time.Minute      // for which links wait to be accepted, and none is
	pingsAtOnce  = 16               // and as many again a second later
)

// Why this side ends a mux, for something that the other side did. Err returns them.
var (
	errPings   = errors.New("the other side sends too many pings in the mux")
	errUnended = errors.New("the other side leaves too many links open that are closed here")
	errUntaken = errors.New("the other side has accepted no link of the mux for a while")
	errUnread  = errors.New("the other side does not read what it is told about its links")
)

package relay

import (
	"time"

	"github.com/secureportal/sp/route"
)

// Limits and times that both sides keep to.
const (
	fewStandby   = 4              // standby links that wait at least while a name is used
	maxStandby   = 64             // standby links of one lease that wait
	maxMaking    = 2 * maxStandby // of an outlet's, those that the relay does not answer included
	muxesBudget  = 256 << 20      // bytes that the windows of all muxes grow by
	numberWindow = 64             // numbers by which one standby link may be overtaken
	maxSharers   = 16             // processes that share a name
	maxLeft      = 4096           // of those that have left, which are remembered
)

// Times of a relay.
const (
	standbyIdle   = time.Minute     // before a standby link more than a few is closed
	standbyUnused = 5 * time.Minute // for which nobody has used a name, before all are
	standbyTold   = 5 * time.Second // between telling the outlet so, and closing them
	demandTimeout = 5 * time.Second // for the outlet's connection to take a demand
	nodesTimeout  = 5 * time.Second // for somebody to take the list of nodes
	leftAfter     = 5 * time.Second // for a process that has ended its session to come back
	leftFor       = 5 * time.Minute // for which it is remembered that one has left
)

// What tests have more time for, on a busy machine.
var (
	standbyWait   = 500 * time.Millisecond // for a standby link, before the mux is used
	holderTimeout = time.Second            // for who has a name to say that it is still there
)

// standbyUnderWay is for how long a standby link may come after its lease has ended.
const standbyUnderWay = route.DefaultConnectTimeout

// How fast outlets are told of a new list of nodes: each of them will ask for it.
const (
	tellAtOnce = 50
	tellPause  = 50 * time.Millisecond
)

// Times of an outlet.
const (
	standbyRetry = time.Second     // between two standby links that fail, or end without use
	keyTimeout   = 5 * time.Second // for the relay to say the rest of its answer to a claim
	endTimeout   = 5 * time.Second // for the relay to end the mux when its outlet has
)

// A relay that is going away may have sessions through it that are being made just then. An outlet
// looks for those in intervals, as many times as a handshake may take, and some more.
const (
	goAwayInterval = time.Second
	goAwayRounds   = 10
)

// Who gives a name up on a relay that stays looks often whether anybody comes by it, and after a
// while once a second. Whoever has just been led here, and is not seen yet, the relay passes on.
const (
	leaveInterval = 250 * time.Millisecond
	leaveRounds   = 20 // of looking often
	leaveEmpty    = 2  // times in a row that nobody comes, before all is over
)

// maxDeparting is how many relays that are going away an outlet still serves, for one name: a relay
// that only says that it goes could have it hold ever more.
const maxDeparting = 8

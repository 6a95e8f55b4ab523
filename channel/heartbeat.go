package channel

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
)

// heartbeat finds out whether the far end answers: by pings, which cross the whole way there and
// back. Of two sides one is enough to ping: the other one hears that it does, and begins itself
// when it hears nothing any more.
//
//	hears the far end ──▶ hears nothing for a while ──▶ pings, ever faster ──▶ the session is over
//	        ▲                                                  │ a pong
//	        └──────────────────────────────────────────────────┘
type heartbeat struct {
	control  *control
	interval time.Duration // while somebody would miss the session
	grace    time.Duration // that the initiator has to ping before the responder does
	timer    *alarm        // when beat is due

	mu      sync.Mutex
	heard   time.Time                // when the far end last said anything
	pinged  time.Time                // when it last sent a ping
	pace    time.Duration            // between its pings, while nobody here would miss the session
	sent    uint64                   // pings
	missed  int                      // pings since the last pong
	waiting map[uint64]chan struct{} // closed when a ping's pong comes; nil before anybody has waited
	asked   time.Time                // when the last ping was sent
	slept   bool                     // this side has stood still since it last heard anything
	took    time.Duration            // by the last pong that was measured; 0 if none has been
}

func newHeartbeat(
	c *control, role identity.Role, interval time.Duration, timer *alarm,
) heartbeat {
	var grace time.Duration
	if role == identity.Responder {
		grace = interval / pingGrace
	}
	return heartbeat{
		control: c, interval: interval, grace: grace,
		heard: time.Now(), timer: timer, pace: interval * pingSlowdown,
	}
}

// hear takes note that the far end has said something. If that answers all there was to ask, the
// next beat is for when nothing more has been heard for the time rest. The initiator, who has more
// to do then, keeps to its own time unless it has just been answered.
func (h *heartbeat) hear(t recordType, now time.Time, rest func(pace time.Duration) time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard, h.slept = now, false
	if t == typePing {
		h.pace = min(max(now.Sub(h.pinged), h.interval), h.interval*pingSlowest)
		h.pinged = now
	}
	if h.missed == 0 && (t == typePong || h.grace > 0) {
		h.timer.Reset(rest(h.pace) + h.grace)
	}
}

// beat sends a ping if the far end has said nothing for the time rest, or fails after too many
// missed pongs. It returns when to do so again: soon if a ping has not been answered, so that a
// black hole shows well within three intervals.
func (h *heartbeat) beat(
	now time.Time, restAt func(pace time.Duration) time.Duration,
) (next time.Duration, err error) {
	h.mu.Lock()
	missed, rest := h.missed, restAt(h.pace)
	h.slept = h.sleptLocked(now, rest)
	quiet := now.Sub(h.heard)
	if wait := rest + h.grace - quiet; missed == 0 && wait > rest/pingGrace {
		h.mu.Unlock()
		return wait, nil
	}
	if missed >= MaxMissedPongs {
		h.mu.Unlock()
		return 0, ErrMissedPongs
	}
	h.missed++
	h.pace = min(h.pace*2, h.interval*pingSlowest)
	h.mu.Unlock()
	h.send(nil)
	if missed > 0 {
		return h.interval / pingSpeedup, nil
	}
	return h.interval - h.grace, nil
}

// hasSlept tells whether this side has stood still, with its process or its machine, and has heard
// nothing since: the far end may have given up meanwhile.
func (h *heartbeat) hasSlept(
	now time.Time, restAt func(pace time.Duration) time.Duration,
) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sleptLocked(now, restAt(h.pace))
}

// sleptLocked tells by what should have been done by now. A machine that is suspended may stop one
// of its two clocks.
func (h *heartbeat) sleptLocked(now time.Time, rest time.Duration) bool {
	last, pause := h.heard, rest+h.grace
	if h.missed > 0 && !h.asked.IsZero() {
		last, pause = h.asked, h.interval
	}
	since := max(now.Sub(last), now.Round(0).Sub(last.Round(0)))
	return h.slept || since-pause > standstill
}

// pong takes note of the answer to a ping.
func (h *heartbeat) pong(number uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if number == 0 || number > h.sent {
		return fmt.Errorf("%w: answer to a ping that was not sent", ErrProtocol)
	}
	if answered, ok := h.waiting[number]; ok {
		delete(h.waiting, number)
		close(answered)
	}
	h.missed, h.heard, h.slept = 0, time.Now(), false // before anybody relies on the answer
	if number == h.sent && !h.asked.IsZero() {
		h.took = time.Since(h.asked)
		h.asked = time.Time{} // whatever comes a second time
		roundTrips.Observe(h.took)
	}
	return nil
}

// roundTrip returns how long the last answer to a ping has taken, and false if there was none.
func (h *heartbeat) roundTrip() (took time.Duration, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.took, h.took > 0
}

// pings returns how many have been sent, or are about to be.
func (h *heartbeat) pings() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent
}

// send sends a ping. answered, if it is not nil, is closed when the pong comes.
func (h *heartbeat) send(answered chan struct{}) (number uint64) {
	h.mu.Lock()
	h.sent++
	h.asked = time.Now()
	number = h.sent
	if answered != nil {
		if h.waiting == nil {
			h.waiting = make(map[uint64]chan struct{})
		}
		h.waiting[number] = answered
	}
	h.mu.Unlock()
	h.control.say(typePing, binary.BigEndian.AppendUint64(nil, number))
	return number
}

// ping measures a round trip. It fails with ctx, or with net.ErrClosed when the session has ended.
func (h *heartbeat) ping(ctx context.Context, ended <-chan struct{}) (time.Duration, error) {
	begin := time.Now()
	answered := make(chan struct{})
	number := h.send(answered)
	select {
	case <-answered:
		return time.Since(begin), nil
	case <-ended:
		return 0, ErrClosed
	case <-ctx.Done():
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiting, number)
		return 0, context.Cause(ctx)
	}
}

package channel

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// heartbeat finds out whether the far end answers: by pings, which cross the whole way there and
// back.
type heartbeat struct {
	control  *control
	interval time.Duration

	mu      sync.Mutex
	sent    uint64                   // pings
	missed  int                      // beats since the last pong
	waiting map[uint64]chan struct{} // closed when a ping's pong comes
}

func newHeartbeat(c *control, interval time.Duration) heartbeat {
	return heartbeat{control: c, interval: interval, waiting: make(map[uint64]chan struct{})}
}

// beat sends a ping, or fails after too many missed pongs. It returns when to do so again: soon if
// the last ping has not been answered, so that a black hole shows well within three intervals.
func (h *heartbeat) beat() (next time.Duration, err error) {
	h.mu.Lock()
	missed := h.missed
	h.missed++
	h.mu.Unlock()
	if missed >= MaxMissedPongs {
		return 0, ErrMissedPongs
	}
	h.send(nil)
	if missed > 0 {
		return h.interval / pingSpeedup, nil
	}
	return h.interval, nil
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
	h.missed = 0
	return nil
}

// send sends a ping. answered, if it is not nil, is closed when the pong comes.
func (h *heartbeat) send(answered chan struct{}) (number uint64) {
	h.mu.Lock()
	h.sent++
	number = h.sent
	if answered != nil {
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

package channel

import (
	"context"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
)

// leastProbeTimeout is for the answer to a probe, at least: TCP sends again twice until then.
const leastProbeTimeout = time.Second

// Probe finds out which sessions of this side's making still have a far end, when something has
// happened that may have cut them off: each is pinged at once, whatever it does otherwise, and ends
// with ErrMissedPongs unless the answer comes soon. That is as soon as the next ping would be due
// after one that has not been answered, a third of Config.Keepalive, or a second if that is more.
//
// Probe returns when all have answered or ended, and in any case when the endpoint is closed. It
// may be called again meanwhile: the latest probe decides.
func (e *Endpoint) Probe() {
	e.eachOf(func(s *Session) bool { return s.role == identity.Initiator }, func(s *Session) {
		_ = s.probe(context.Background()) // which takes no longer than is said above
	})
}

// answers returns when the far end may be relied on, or has not answered: then the session has
// ended. That is at once, unless this side has stood still for so long that the far end may have
// given the session up. What begins then does not go where nobody may be.
func (s *Session) answers(ctx context.Context) error {
	if !s.heartbeat.hasSlept(time.Now(), s.rest) {
		return nil
	}
	var err error
	if !s.waking.Swap(true) {
		err = s.probe(ctx)
		s.waking.Store(false)
	} else {
		_, err = s.heartbeat.ping(ctx, s.Done())
	}
	if ended := s.Err(); ended != nil {
		return sessionEnded(ended)
	}
	return err
}

// probe is Probe for one session. It fails with ctx, and then decides nothing.
func (s *Session) probe(ctx context.Context) error {
	number := s.probes.Add(1)
	late := max(leastProbeTimeout, s.heartbeat.interval/pingSpeedup)
	ctx, cancel := context.WithTimeoutCause(ctx, late, ErrMissedPongs)
	answered := make(chan struct{})
	var asking sync.WaitGroup // which takes as long as the link, or until the session ends
	defer asking.Wait()
	defer cancel()
	asking.Go(func() {
		if _, err := s.heartbeat.ping(ctx, s.Done()); err == nil {
			close(answered)
		}
	})
	select {
	case <-answered:
	case <-s.Done():
	case <-ctx.Done():
		if context.Cause(ctx) != ErrMissedPongs {
			return context.Cause(ctx)
		}
		if s.probes.Load() == number {
			s.end(ErrMissedPongs)
		}
	}
	return nil
}

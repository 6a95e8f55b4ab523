package channel

import (
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
	e.eachOf(func(s *Session) bool { return s.role == identity.Initiator }, (*Session).probe)
}

// probe is Probe for one session.
func (s *Session) probe() {
	number := s.probes.Add(1)
	answered := make(chan struct{})
	late := time.NewTimer(max(leastProbeTimeout, s.heartbeat.interval/pingSpeedup))
	defer late.Stop()
	var sending sync.WaitGroup // which takes as long as the link, or until the session ends
	defer sending.Wait()
	sending.Go(func() { s.heartbeat.send(answered) })
	select {
	case <-answered:
	case <-s.Done():
	case <-late.C:
		if s.probes.Load() == number {
			s.end(ErrMissedPongs)
		}
	}
}

package route

import (
	"context"
	"sync"
	"time"
)

// When a path is suspected of leading nowhere any more, long before pings tell.
const (
	answerSoonest = 250 * time.Millisecond // that a new stream is answered in
	answerTimes   = 3                      // or in so many times what an answer took before
	suspectAgain  = 5 * time.Second        // the least time between two suspicions of a path
)

// patience is how long an answer on the path is waited for until the path is suspected.
func (h *healthCheck) patience() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(answerSoonest, answerTimes*h.took)
}

// maySuspect tells whether the path is up and has not been suspected just now, and counts that.
func (h *healthCheck) maySuspect(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.up || now.Sub(h.suspected) < suspectAgain {
		return false
	}
	h.suspected = now
	return true
}

// expectAnswer has a path suspected if a stream that was opened on it is not answered soon. Where
// there is no other path to take, nobody needs to know.
func (f *Failover) expectAnswer(s *Stream, on *healthCheck) {
	if f.upBut(on) == nil {
		return
	}
	time.AfterFunc(on.patience(), func() {
		if s.awaiting.Load() && on.maySuspect(time.Now()) {
			on.node.Go(func() { f.compare(on) })
		}
	})
}

// compare asks the far end by a path and by the next one that is up, at the same time. If the one
// is silent while the other answers, new streams take that, and what is open goes on there if it
// outlives its links. A far end that is slow, or a machine that is busy, is so on both.
func (f *Failover) compare(on *healthCheck) {
	other := f.upBut(on)
	session := on.node.successor(on.route, nil)
	if other == nil || session == nil {
		return
	}
	beside := other.node.successor(other.route, nil)
	if beside == nil {
		return
	}
	ctx, cancel := context.WithTimeout(on.node.life.ctx, on.patience())
	defer cancel()
	var silent, answered error
	var tasks sync.WaitGroup
	tasks.Go(func() { _, silent = session.Ping(ctx) })
	tasks.Go(func() { _, answered = beside.Ping(ctx) })
	tasks.Wait()
	if silent == nil || answered != nil || session.Err() != nil {
		return
	}
	on.mu.Lock()
	on.silent = session
	on.mu.Unlock()
	pathsSuspected.Inc()
	on.node.logger.Info("a path is silent while another one answers, and is made anew",
		"route", Format(on.route), "other", Format(other.route))
	session.Retire()
}

package route

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// When a path is suspected of leading nowhere any more, long before pings tell.
const (
	answerTimes  = 3               // or in so many times what an answer took before
	suspectAgain = 5 * time.Second // the least time between two suspicions of a path
	suspectTimes = 3               // for one stream: then pings have told
)

// answerSoonest is that a new stream is answered in. Tests have more time, on a busy machine.
var answerSoonest = 250 * time.Millisecond

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
	if len(f.besidesOf(on)) == 0 {
		return
	}
	f.suspectIn(on.patience(), s, on, suspectTimes)
	if on.sharer != "" || !s.survives() {
		f.leaveIn(on.patience(), s, on)
	}
}

// leaveIn has a stream opened elsewhere once the path that it is on is down, as long as it waits
// for its first answer: with another process that shares the name, or, where it does not outlive
// its link, by any path. It is looked at again and again.
func (f *Failover) leaveIn(while time.Duration, s *Stream, on *healthCheck) {
	time.AfterFunc(while, func() {
		a := s.again.Load()
		switch {
		case !s.awaiting.Load() || !a.mayHappen() || a.on.Load() != on:
		case !on.isUp() && (f.hasOther(on) || !s.survives() && f.isAnyUp()):
			on.node.Go(s.abandon)
		default:
			f.leaveIn(while, s, on)
		}
	})
}

func (f *Failover) isAnyUp() bool {
	best, _ := f.best()
	return best != nil
}

// suspectIn has the path suspected after a while if the stream still waits, and so many times in
// all as long as that has told nothing: the path may have been suspected for another stream just
// before, or all have stood still.
func (f *Failover) suspectIn(while time.Duration, s *Stream, on *healthCheck, times int) {
	if times == 0 {
		return
	}
	again := func() { f.suspectIn(suspectAgain, s, on, times-1) }
	time.AfterFunc(while, func() {
		switch {
		case !s.awaiting.Load():
		case !on.maySuspect(time.Now()):
			again()
		default:
			on.node.Go(func() {
				if !f.compare(on) {
					again()
				}
			})
		}
	})
}

// compare asks the far end by a path and by others that are up, at the same time. If the one is
// silent while another one answers, new streams take that, and what is open goes on by another way
// to the same process if there is one, and it outlives its links. A far end that is slow, or a
// machine that is busy, is so on all: then it is not known what becomes of the path.
func (f *Failover) compare(on *healthCheck) (known bool) {
	session := on.node.successor(on.route, nil)
	if session == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(on.node.life.ctx, on.patience())
	defer cancel()
	var silent error
	var answered atomic.Pointer[healthCheck]
	var tasks sync.WaitGroup
	tasks.Go(func() { _, silent = session.Ping(ctx) })
	for _, path := range f.besidesOf(on) {
		if beside := path.node.successor(path.route, nil); beside != nil {
			tasks.Go(func() {
				if _, err := beside.Ping(ctx); err == nil {
					answered.Store(path)
				}
			})
		}
	}
	tasks.Wait()
	other := answered.Load()
	switch {
	case silent == nil || session.Err() != nil:
		return true
	case other == nil:
		return false
	}
	on.mu.Lock()
	on.silent = session
	on.mu.Unlock()
	pathsSuspected.Inc()
	on.node.logger.Info("a path is silent while another one answers, and is made anew",
		"route", Format(on.route), "other", Format(other.route))
	session.Retire()
	return true
}

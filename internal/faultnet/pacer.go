package faultnet

import "time"

const (
	// paceStep is how much sending time one piece may take: at low rates the
	// bytes trickle and do not come in lumps.
	paceStep = 5 * time.Millisecond
	// paceSlack is how late a timer may be without costing bandwidth.
	paceSlack = 5 * time.Millisecond
	// paceAhead is how far the sender may run ahead before it has to sleep.
	paceAhead = time.Millisecond
)

// pacer says when a piece that enters the line now comes out of it.
//
//	now ──┤ line busy with earlier pieces ├──┤ n/rate: sending it ├──┤ delay ├── due
//	                                                             free
type pacer struct {
	delay time.Duration
	rate  int64     // bytes a second, 0 is unlimited
	free  time.Time // when the line has sent everything so far
	due   time.Time // of the piece before: order is kept when the delay shrinks
}

// stamp takes n bytes and returns when they are due.
func (p *pacer) stamp(now time.Time, n int) time.Time {
	if p.rate > 0 {
		if now.Sub(p.free) > paceSlack {
			p.free = now
		}
		p.free = p.free.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
		if p.free.After(now) {
			now = p.free
		}
	}
	if due := now.Add(p.delay); due.After(p.due) {
		p.due = due
	}
	return p.due
}

// step is the most bytes that may go into one piece.
func (p *pacer) step() int {
	if p.rate == 0 {
		return chunkSize
	}
	return int(min(max(p.rate*int64(paceStep)/int64(time.Second), 1), chunkSize))
}

// rest is how long the sender has to sleep before the next piece.
func (p *pacer) rest(now time.Time) time.Duration {
	if d := p.free.Sub(now); p.rate > 0 && d > paceAhead {
		return d
	}
	return 0
}

// inFlight is how many bytes a line of this delay and rate holds.
func (p *pacer) inFlight() int {
	switch {
	case p.delay == 0:
		return 0
	case p.rate == 0:
		return maxInFlight
	}
	return int(min(p.delay.Seconds()*float64(p.rate), maxInFlight))
}

package netio

import (
	"errors"
	"os"
	"time"
)

// Through most connections nothing goes most of the time, and what such a one holds is the stacks
// of two goroutines. So a Proxy that was begun with Start parks its sources when nothing has gone
// through it for a while, and has a goroutine again for what comes.
//
//	copying ── nothing for a while ──▶ asked ── the read is over ──▶ parked
//	   ▲                                                               │
//	   └─────────────────────── something comes ───────────────────────┘
const (
	// standbySoon is the time between two looks at a Proxy that has not been parked yet, and
	// standbyLate at one that was needed again: to be parked costs some system calls.
	standbySoon = 500 * time.Millisecond
	standbyLate = 5 * time.Second
	// standbyTries is how often one after the other a Proxy is looked at whose sources cannot be
	// parked, or are not.
	standbyTries = 3
)

// MayParker is a Parker that can tell whether it could be parked.
type MayParker interface {
	// MayPark tells whether Park, called when a read has found nothing, would have no reason of
	// the connection's own to refuse.
	MayPark() bool
}

// MayPark is c's, if it is a MayParker.
func MayPark(c any) bool {
	p, ok := c.(MayParker)
	return ok && p.MayPark()
}

// standby is what a Proxy knows of its being parked. Its lock is the Proxy's.
type standby struct {
	timer *time.Timer // of the next look; nil if there is none
	moved uint64      // bytes, at the last one
	late  bool        // it was needed again
	tries uint8       // looks that have found nothing to ask, or have asked in vain
	vain  bool        // what the last look has asked for was refused
}

// way is where a direction of a Proxy is in its life. Its lock is the Proxy's.
type way uint8

const (
	wayCopies way = iota
	wayAsked      // its source has a deadline, so that what copies comes to an end
	wayParked
	wayOver // nothing is copied any more
)

// lookAfterLocked has the Proxy looked at in a while, unless that is going to be.
func (p *Proxy) lookAfterLocked() {
	s := &p.standby
	if s.timer != nil || p.over || s.tries >= standbyTries {
		return
	}
	after := standbySoon
	if s.late {
		after = standbyLate
	}
	s.timer = time.AfterFunc(after, p.look)
}

// look asks both directions to be parked, if nothing has been copied since it looked last.
func (p *Proxy) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.standby
	s.timer = nil
	there, back, known := p.Moved()
	switch moved := there + back; {
	case p.over || !known:
		return
	case moved != s.moved:
		s.moved, s.tries, s.vain = moved, 0, false
	default:
		if s.vain {
			s.tries++
			s.vain = false
		}
		if p.askLocked(&p.there, p.A) && p.askLocked(&p.back, p.B) {
			return
		}
		s.tries++
		s.late = true
	}
	p.lookAfterLocked()
}

// askLocked asks a direction to park its source, and reports whether that is all there is to do.
func (p *Proxy) askLocked(w *way, src Conn) bool {
	if *w != wayCopies {
		return true
	}
	if !MayPark(src) {
		return false
	}
	*w = wayAsked
	_ = src.SetReadDeadline(time.Unix(1, 0))
	return true
}

// park parks a direction's source, if copying has come to an end because of err and not to its own.
// Then again is called, on a goroutine of its own. goesOn tells that it was not parked and is to be
// copied on.
//
//go:noinline
func (p *Proxy) park(w *way, src Conn, err error, again func()) (parked, goesOn bool) {
	p.mu.Lock()
	asked := *w == wayAsked
	if asked {
		_ = src.SetReadDeadline(time.Time{})
	}
	if !asked || !errors.Is(err, os.ErrDeadlineExceeded) || isOfDestination(err) {
		*w = wayOver
		p.mu.Unlock()
		return false, false
	}
	*w = wayParked
	p.mu.Unlock()
	if Park(src, again) {
		return true, true
	}
	p.unparkRefused(w)
	return false, true
}

// unparkRefused is unpark of what could not be parked.
func (p *Proxy) unparkRefused(w *way) {
	p.mu.Lock()
	p.standby.vain = true
	p.mu.Unlock()
	p.unpark(w)
}

// unpark takes note that a direction is copied again.
func (p *Proxy) unpark(w *way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*w = wayCopies
	p.standby.late = true
	p.lookAfterLocked()
}

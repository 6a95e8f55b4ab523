package faultnet

import "time"

// drain delivers what is in flight, each piece when it is due.
func (l *lane) drain() {
	for {
		p, ok := l.next()
		if !ok {
			return
		}
		if !l.deliver(p) {
			return
		}
	}
}

// next waits for the next piece. It is not ok when the link is over.
func (l *lane) next() (piece, bool) {
	for {
		p, wait, ok := l.head()
		if ok {
			return p, true
		}
		if !l.link.wait(l.wake, wait) {
			return piece{}, false
		}
	}
}

// head takes the first piece off the queue if it is due; if not it says how
// long to wait (negative: until notified).
func (l *lane) head() (p piece, wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 || l.hole {
		return p, -1, false
	}
	if wait = time.Until(l.queue[0].due); wait > 0 {
		return p, wait, false
	}
	p = l.queue[0]
	l.queue[0] = piece{}
	l.queue = l.queue[1:]
	if p.what == data {
		l.queued -= len(p.data) + pieceCost
		notify(l.room)
	}
	return p, 0, true
}

// deliver hands p to the destination, and reports whether more may follow.
func (l *lane) deliver(p piece) bool {
	switch p.what {
	case data:
		if _, err := l.dst.conn.Write(p.data); err != nil {
			l.destinationGone()
			return false
		}
		return true
	case fin:
		l.dst.closeWrite()
	case rst:
		l.dst.settle(l.link.over)
		l.dst.reset()
	}
	l.terminal()
	return p.what == fin
}

// destinationGone deals with a destination that takes nothing more: it has
// answered with a RST, which goes back to the source.
func (l *lane) destinationGone() {
	l.mu.Lock()
	news := !l.detached
	l.clear(mute)
	l.mu.Unlock()
	if news {
		l.back.sourceReset()
	}
	l.terminal()
}

// clear drops what is in flight; nothing enters after it but an end that says
// more than w. l.mu must be held.
func (l *lane) clear(w what) {
	l.queue, l.queued = nil, 0
	l.last = max(l.last, w)
	notify(l.room)
}

// terminal counts this direction as ended towards its destination.
func (l *lane) terminal() { l.ended.Do(l.link.part) }

// setHole switches the live black hole.
func (l *lane) setHole(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hole = on
	notify(l.wake)
}

// cutNow ends the direction by hand: a FIN at once, what was in flight is lost.
func (l *lane) cutNow() {
	l.detach(fin)
	l.dst.closeWrite()
	l.terminal()
}

// resetNow ends the direction by hand: a RST at once, what was in flight is lost.
func (l *lane) resetNow() {
	l.detach(mute)
	l.dst.reset()
	l.terminal()
}

func (l *lane) detach(w what) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.detached = true
	l.clear(w)
}

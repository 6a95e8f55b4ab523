package channel

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A new link may lead to somebody who does not know the session: a balancer has sent it elsewhere,
// or whoever was there has been replaced. As long as nothing has come back on it, a flow is sent
// again, the same sealed bytes, on another link. The session's responder takes a flow's number
// once, whatever becomes of the links and whoever says so: nothing of it arrives twice.
const (
	// againBytes is how much of a flow is kept for that.
	againBytes = 32 << 10
	// againElsewhere is how many links are made until one leads to the session, where others lead
	// to somebody else. Of two who take turns one of two does.
	againElsewhere = 16
	// againBroken is how many links are made that break, or lead to who has no time for them.
	againBroken = 3
	// againPause is the longest pause before a flow is sent again to who had no time for it.
	againPause = 250 * time.Millisecond
	// againTime bounds all of this where nobody has set a deadline.
	againTime = 10 * time.Second
)

// Misled is what a link's error says, with errors.As, if whoever it led to has refused it. What
// says nothing of the kind is a link that broke.
type Misled interface {
	error
	// Misled tells whether the next link may do better: elsewhere if this one has led to a node
	// that is not the session's, and otherwise after a moment.
	Misled() (elsewhere, later bool)
}

// unproven is a flow on a link of which it is not known yet that it leads to the session. The
// flow's sending lock guards it, but for broken.
type unproven struct {
	sent   []byte       // all that has been written
	misled int          // links that led to somebody else
	broken atomic.Int32 // links that failed in another way
}

// prove takes note that the link leads to the session, or that it does not matter any more.
func (f *Flow) prove() {
	if f.unproven.Load() != nil {
		f.unproven.Store(nil)
	}
}

// keepLocked keeps sealed records that are about to be written, unless they are too many.
func (f *Flow) keepLocked(records []byte) {
	u := f.unproven.Load()
	switch {
	case u == nil:
	case len(u.sent)+len(records) > againBytes:
		f.unproven.Store(nil)
	default:
		u.sent = append(u.sent, records...)
	}
}

// again is called by the goroutine that reads, when a carrier has failed because of err. It reports
// whether the flow goes on with another one.
func (f *Flow) again(failed carrier, err error) bool {
	if f.unproven.Load() == nil || !f.isOpen() {
		return false
	}
	_ = failed.Close() // whoever writes must not wait for it
	f.pause(err)
	f.sending.Lock()
	defer f.sending.Unlock()
	return f.againLocked(failed, err)
}

// againLocked is again with the flow's sending lock held.
func (f *Flow) againLocked(failed carrier, err error) bool {
	for {
		u := f.unproven.Load()
		if f.carrier() != failed {
			return true // the other goroutine was faster
		}
		if u == nil || f.Err() != nil || f.Session().Err() != nil || !u.more(err) {
			break
		}
		next, dialing := f.nextLink()
		if dialing != nil {
			break
		}
		if !f.replace(next) {
			_ = next.Close()
			break
		}
		if _, err = next.Write(u.sent); err == nil {
			return true
		}
		failed = next
	}
	if u := f.unproven.Swap(nil); u != nil && u.misled >= againElsewhere {
		f.Session().Retire()
	}
	return false
}

// more counts a link that has failed because of err, and tells whether to make another one.
func (u *unproven) more(err error) bool {
	if isTimeout(err) {
		return false
	}
	var m Misled
	if !errors.As(err, &m) {
		return u.broken.Add(1) <= againBroken
	}
	elsewhere, later := m.Misled()
	if elsewhere {
		u.misled++
		return u.misled < againElsewhere
	}
	return u.broken.Add(1) <= againBroken && later
}

// pause waits before a flow is sent again to who had no time for it. Whoever writes does not wait:
// others wait for his lock.
func (f *Flow) pause(err error) {
	u := f.unproven.Load()
	var m Misled
	if u == nil || u.broken.Load() >= againBroken || !errors.As(err, &m) {
		return
	}
	if elsewhere, later := m.Misled(); elsewhere || !later {
		return
	}
	select {
	case <-time.After(againPause/2 + rand.N(againPause/2)):
	case <-f.Session().Done():
	}
}

// nextLink makes another link.
func (f *Flow) nextLink() (*link, error) {
	ctx, cancel := context.WithDeadline(f.Session().life.ctx, f.againBy())
	defer cancel()
	next, err := f.Session().dialLink(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.Session().pool.add(next, false); err != nil {
		_ = next.Conn.Close()
		return nil, err
	}
	return next, nil
}

// againBy is when to give up.
func (f *Flow) againBy() time.Time {
	f.life.Lock()
	defer f.life.Unlock()
	if by := f.life.readBy; !by.IsZero() {
		return by
	}
	return time.Now().Add(againTime)
}

// Retire has the session opened no new flows in: whoever makes them finds nobody there any more, or
// has another one. It ends when its flows have. Only the initiator calls it.
func (s *Session) Retire() {
	s.retired.Store(true)
	s.life.goAway()
	s.pool.freed.tell()
}

// Retired tells whether it is this side that opens no new flows in the session.
func (s *Session) Retired() bool { return s.retired.Load() }

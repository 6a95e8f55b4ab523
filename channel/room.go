package channel

import (
	"math"
	"os"
	"time"

	"github.com/secureportal/sp/internal/budget"
	"github.com/secureportal/sp/internal/netio"
)

// What a flow has sent and nobody has opened is kept, and on its way as well: in buffers of this
// machine, of relays, of the far end. While little is kept in all, a flow sends what the way takes.
// Then it has a window: a part of what is free, or, if it has been read for a while, more than is
// on its way at that pace. Who begins to read and stops has swallowed megabytes in no time, and
// keeps little here all the same. Nobody who reads is slowed down for want of memory: where there
// is no room for him, what another one keeps is given up, or what he keeps.
const (
	// windowParts of what may be kept that nobody reads are what is free, and windowLeast what any
	// flow may keep: a large buffer, which no line fills before it is known whether it is read.
	windowParts = 64
	windowLeast = 64<<10 + netio.BufferSlack
	// roomParts of a window are what must be free for whoever waits for it, up to windowLeast: small
	// pieces are dear.
	roomParts = 4
	// muchMore is how many times as much as a flow itself one keeps that has to make room for it.
	muchMore = 4

	// paceTime is how long bytes are counted for, and paceTimes how many of such times are
	// remembered: longer than it takes to hear of them. A flow may keep windowFactor times as much as
	// is read of it in all of them but one, and one that may not keep the slowPart of that is slowed
	// down. What has not been read for unreadTimes is not being read.
	paceTime     = 250 * time.Millisecond
	paceTimes    = 8
	windowFactor = 2
	slowPart     = 4
	unreadTimes  = 6

	// roomLook is how long somebody waits for room before he looks whether the link is still there,
	// twice as long each time, and up to roomLookMax.
	roomLook    = time.Second
	roomLookMax = time.Hour
)

// pace is how much has been acknowledged of late.
type pace struct {
	since time.Time
	kib   [paceTimes]uint32 // since then, in the paceTime before, and so on
}

func (p *pace) add(bytes int64) {
	p.turn()
	p.kib[0] += uint32((bytes + 1<<10 - 1) >> 10)
}

// read returns how many bytes may be kept of a flow for the way that it is read. The paceTime in
// which most was read does not count: buffers on the way may have swallowed that.
func (p *pace) read() int64 {
	p.turn()
	var sum, most int64
	for _, n := range p.kib {
		sum, most = sum+int64(n), max(most, int64(n))
	}
	return windowFactor * (sum - most) << 10
}

// isUnread tells whether nothing has been read for a while.
func (p *pace) isUnread() bool {
	p.turn()
	return [unreadTimes]uint32(p.kib[:unreadTimes]) == [unreadTimes]uint32{}
}

func (p *pace) turn() {
	now := time.Now()
	passed := now.Sub(p.since)
	if passed >= paceTimes*paceTime {
		*p = pace{since: now}
		return
	}
	for ; passed >= paceTime; passed -= paceTime {
		copy(p.kib[1:], p.kib[:])
		p.kib[0] = 0
		p.since = p.since.Add(paceTime)
	}
}

// windowLocked returns how many bytes may be kept, and whether that slows down whoever reads.
func (k *kept) windowLocked() (bytes int64, slows bool) {
	read := k.pace.read()
	bytes = max(budget.FreeForUnread()/windowParts, windowLeast,
		min(read, budget.Kept.Free()+k.held))
	return bytes, bytes < read/slowPart
}

// unread returns how many bytes giveUp would give back that are kept for somebody who does not
// read.
func (k *kept) unread() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gaveUp || !k.pace.isUnread() {
		return 0
	}
	return k.held
}

// room returns how many bytes more may be kept.
func (k *kept) room() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gaveUp {
		return math.MaxInt32
	}
	bytes, _ := k.windowLocked()
	return bytes - k.held
}

// full returns a channel that is closed when there may be room for more, or nil if there is. slows
// tells that whoever reads is slowed down for want of memory.
func (k *kept) full() (freed <-chan struct{}, slows bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gaveUp || k.held == 0 || budget.KeptPlenty() {
		return nil, false
	}
	bytes, slows := k.windowLocked()
	if bytes-k.held >= min(bytes/roomParts, windowLeast) {
		return nil, false
	}
	if k.freed == nil {
		k.freed = make(chan struct{})
	}
	return k.freed, slows
}

// wake has whoever waits for room look again.
func (k *kept) wake() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wakeLocked()
}

func (k *kept) wakeLocked() {
	if k.freed != nil {
		close(k.freed)
		k.freed = nil
	}
}

// isRoomy tells whether nobody needs to ask for room.
func (f *Flow) isRoomy() bool { return f.lasting == nil || budget.KeptPlenty() }

// class returns the class of buffer, c at most, to read into what the flow is to send.
func (f *Flow) class(c netio.Class) netio.Class {
	c = netio.ClassTo(f, c)
	if c == netio.Small || f.isRoomy() {
		return c
	}
	for room := f.lasting.kept.room(); c > netio.Small && int64(c.Size()) > room; {
		c--
	}
	return c
}

// mostNow returns how many of n bytes to send with one call.
func (f *Flow) mostNow(n int) int {
	if whole := netio.ClassFor(n + netio.BufferSlack); whole > netio.Small {
		if c := f.class(whole); c < whole {
			n = min(n, c.Size()-netio.BufferSlack)
		}
	}
	return n
}

// lockSending takes the lock to send something of the application's: not in the middle of what
// somebody else sends, who waits for room.
func (f *Flow) lockSending() {
	s := &f.sending
	for s.Lock(); s.waiting != nil; s.Lock() {
		over := s.waiting
		s.Unlock()
		<-over
	}
}

// awaitRoomLocked waits until more may be kept. The sending lock is not held meanwhile.
func (f *Flow) awaitRoomLocked() error {
	if f.isRoomy() {
		return nil
	}
	var err error
	for look := roomLook; err == nil; look = min(2*look, roomLookMax) {
		freed, slows := f.lasting.kept.full()
		if freed != nil && slows && !f.isAbsent() {
			f.Session().endpoint.makeRoom(f)
			freed, _ = f.lasting.kept.full()
		}
		if freed == nil {
			return nil
		}
		err = f.awaitFreedLocked(freed, look)
	}
	return err
}

// awaitFreedLocked returns when freed is closed or it is time to look again, and with an error when
// the flow cannot send any more.
func (f *Flow) awaitFreedLocked(freed <-chan struct{}, look time.Duration) error {
	s := &f.sending
	f.askLocked()
	over := make(chan struct{})
	s.waiting = over
	s.Unlock()
	err := f.awaitFreed(freed, look)
	s.Lock()
	s.waiting = nil
	close(over)
	if err != nil {
		return f.sentLocked(err)
	}
	if err := f.sendableLocked(); err != nil {
		return err
	}
	if !f.isOpen() {
		return f.explain(ErrCut)
	}
	return nil
}

// awaitFreed returns when freed is closed, when it is time to look after the link, or with an error
// at the deadline.
func (f *Flow) awaitFreed(freed <-chan struct{}, look time.Duration) error {
	f.life.Lock()
	by := f.life.writeBy
	f.life.Unlock()
	isLate := !by.IsZero() && time.Until(by) < look
	if isLate {
		look = time.Until(by)
	}
	timer := time.NewTimer(look)
	defer timer.Stop()
	select {
	case <-freed:
	case <-timer.C:
		if isLate {
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

// askLocked asks the other end, with an empty record behind what it is asked about, to acknowledge
// that as soon as it can. Where nobody reads from the link, as when who would waits for the one who
// writes, it is this that finds out that it has ended.
func (f *Flow) askLocked() {
	if f.carrier().Takes() > 0 { // or it fails
		_ = f.sendRecordLocked(typeData)
	}
}

// keepWhatFits gives up what the flow that holds most keeps, while all together keep too much. What
// is not read is looked after as long as it would have to be given back.
func (e *Endpoint) keepWhatFits() {
	for keptTooMuch() {
		f := e.flows.largest()
		if f == nil {
			return
		}
		e.giveUp(f)
	}
	if budget.IsUnreadTooMuch() && !e.watches.Swap(true) {
		e.run(e.watchUnread)
	}
}

// watchUnread gives up what is kept for those who do not read, the largest first, until it is not
// too much.
func (e *Endpoint) watchUnread() {
	defer e.watches.Store(false)
	look := time.NewTicker(paceTime)
	defer look.Stop()
	for budget.IsUnreadTooMuch() {
		if f := e.flows.largestUnread(); f != nil {
			e.giveUp(f)
			continue
		}
		select {
		case <-look.C:
		case <-e.ctx.Done():
			return
		}
	}
}

// keptTooMuch tells whether somebody has to give up what he keeps.
func keptTooMuch() bool { return budget.Kept.Taken() > budget.Kept.Most() }

// makeRoom gives up what the flow keeps that keeps most, if that is much more than f does, and
// otherwise what f keeps.
func (e *Endpoint) makeRoom(f *Flow) {
	largest := e.flows.largest()
	if largest == nil || largest.lasting.kept.spare() < muchMore*f.lasting.kept.spare() {
		largest = f
	}
	e.giveUp(largest)
}

// giveUp has a flow end with its link from now on.
func (e *Endpoint) giveUp(f *Flow) {
	f.lasting.kept.giveUp()
	if e.config.GaveUp != nil {
		e.config.GaveUp(f)
	}
	f.failSuspended(errGivenUp)
	f.tidy()
}

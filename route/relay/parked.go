package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/replay"
)

var parkedNow = metrics.NewGauge("relay_standby_links_waiting",
	"standby links that wait here to be used")

// parked is a standby link in the relay's hands. Its life:
//
//	park ──► waiting ──► used ─────► over
//	            └──► given up
//
// While it waits it has a goroutine, the one that serves the outlet's request: that reads nothing
// and sleeps in pool.sleep. Who uses the link owns it, and closes it; the goroutine ends then. So a
// connection through a relay takes two goroutines as long as it lives, however idle: that of the
// inlet's request, and one for the other direction. Only where the link cannot outlive the
// goroutine does that wait for the end.
type parked struct {
	conn netio.Conn
	fate chan struct{} // gets something when the link is used; closed when it is over or given up

	since time.Time // when it was parked; guarded by the pool
}

func newParked(c netio.Conn) *parked {
	return &parked{conn: c, fate: make(chan struct{}, 1)}
}

// use makes the link the caller's, who calls over when he has closed it. It is called once, by who
// took the link.
func (p *parked) use() (over func()) {
	p.fate <- struct{}{}
	return p.giveUp
}

// giveUp has the link closed, or says that it is. It is called once, by who took the link.
func (p *parked) giveUp() { close(p.fate) }

// awaitOver returns when a link that is used is closed.
func (p *parked) awaitOver() { <-p.fate }

// outward is a link to the outlet that somebody has for himself.
type outward struct {
	netio.Conn
	parked *parked // nil if it is no standby link
}

// use makes the link the caller's, who calls over when he has closed it.
func (o outward) use() (over func()) {
	if o.parked == nil {
		return func() {}
	}
	return o.parked.use()
}

// decline closes a link that is not used after all.
func (o outward) decline() {
	if o.parked != nil {
		o.parked.giveUp()
		return
	}
	_ = o.Close()
}

// pool is the standby links of a lease: those that wait to be used, and those who wait for one. At
// any time there are only the former or the latter. It has a lock of its own. The zero value is
// ready, but for numbers and tellNone.
type pool struct {
	numbers  *replay.Filter // of standby links; set once
	tellNone func()         // tells the outlet to keep none; set once

	mu      sync.Mutex
	links   []*parked      // the one that came last is taken first: the others may be spared
	waiting []chan *parked // the first is served first
	users   int            // of the name
	unused  time.Time      // when there was last one, or all links were given up
	sparing *time.Timer    // looks whether links can be spared; nil while none can
	told    bool           // the outlet has been told to keep none, and there was no user since
	closed  bool
}

// begin counts a user of the name until end is called: links are kept for whoever comes next.
func (p *pool) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
	p.told = false
}

func (p *pool) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users--
	p.unused = time.Now()
	p.spareLocked()
}

// inUse returns how many users the name has.
func (p *pool) inUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.users
}

// spend reports whether a standby link's number had not been used.
func (p *pool) spend(number uint64) bool {
	return p.numbers.Use(number)
}

// park keeps a link. It reports false if there are enough.
func (p *pool) park(l *parked) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.links) >= maxStandby {
		return false
	}
	if len(p.waiting) > 0 {
		p.waiting[0] <- l // it has room for one
		p.waiting = p.waiting[1:]
		return true
	}
	l.since = time.Now()
	p.links = append(p.links, l)
	p.spareLocked()
	parkedNow.Inc()
	return true
}

// sleep reports true when a parked link is used, and false if it is to be closed: it has been given
// up, or nobody has needed it for a while.
func (p *pool) sleep(l *parked) (used bool) {
	_, used = <-l.fate
	return used
}

// spareLocked sees to it that links are looked at as long as there are more than a few, or any
// without a user.
func (p *pool) spareLocked() {
	if p.sparing != nil || p.closed || len(p.links) == 0 {
		return
	}
	var wait time.Duration
	switch {
	case len(p.links) > fewStandby:
		wait = standbyIdle
	case p.users > 0:
		return
	case p.told:
		wait = standbyTold
	default:
		wait = standbyUnused - time.Since(p.unused)
	}
	p.sparing = time.AfterFunc(wait, p.spare)
}

// spare gives up the links that nobody has needed for a while: all but a few, and those as well if
// the name has no user. The outlet is told so before, or it would make others in their place.
func (p *pool) spare() {
	p.mu.Lock()
	p.sparing = nil
	n, now := 0, time.Now()
	for n < len(p.links)-fewStandby && now.Sub(p.links[n].since) >= standbyIdle {
		n++
	}
	tell := false
	if n == 0 && p.users == 0 && now.Sub(p.unused) >= standbyUnused {
		tell = !p.told
		if p.told = tell; !tell {
			n, p.unused = len(p.links), now // one that has not listened makes others
		}
	}
	spared := slices.Clone(p.links[:n])
	p.links = slices.Delete(p.links, 0, n)
	p.spareLocked()
	p.mu.Unlock()
	parkedNow.Add(-int64(n))
	for _, l := range spared {
		l.giveUp()
	}
	if tell {
		p.tellNone()
	}
}

// take returns a link that waits, or nil. It is the caller's then: he uses it or gives it up.
func (p *pool) take() *parked {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.links) == 0 {
		return nil
	}
	last := len(p.links) - 1
	l := p.links[last]
	p.links = p.links[:last]
	parkedNow.Dec()
	return l
}

// await has ask ask the outlet for a link, and returns it as take does, or nil if none comes soon.
func (p *pool) await(ctx context.Context, ask func()) *parked {
	w := make(chan *parked, 1)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.waiting = append(p.waiting, w)
	p.mu.Unlock()
	ask()
	timer := time.NewTimer(standbyWait)
	defer timer.Stop()
	select {
	case l := <-w:
		return l
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.waiting = slices.DeleteFunc(p.waiting, func(other chan *parked) bool { return other == w })
	p.mu.Unlock()
	select {
	case l := <-w: // it came at the last moment
		return l
	default:
		return nil
	}
}

// close gives up the links that wait, and tells those who wait for one.
func (p *pool) close() {
	p.mu.Lock()
	links, waiting := p.links, p.waiting
	p.links, p.waiting, p.closed = nil, nil, true
	if p.sparing != nil {
		p.sparing.Stop()
	}
	p.mu.Unlock()
	parkedNow.Add(-int64(len(links)))
	for _, l := range links {
		l.giveUp()
	}
	for _, w := range waiting {
		close(w)
	}
}

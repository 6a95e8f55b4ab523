package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/netio"
)

var parkedNow = metrics.NewGauge("relay_standby_links_waiting",
	"standby links that wait here to be used")

// parked is a standby link in the relay's hands. Its life:
//
//	park ──► waiting ──► handed over ──► closed
//	            └──► given up ─────────► closed
//
// It has a goroutine from the start, the one that serves the outlet's request: that reads nothing
// and sleeps in pool.sleep. When an inlet's link is joined with this one, two goroutines have to
// copy, one each way. One is the inlet's, and the other one is this: handOver gives it the
// direction to run, and it returns, which closes the link, when that is over. So a connection
// through a relay takes two goroutines as long as it lives, however idle, and not three.
type parked struct {
	conn netio.Conn
	work chan func() // takes one direction; closed when the link has been given up
}

func newParked(c netio.Conn) *parked {
	return &parked{conn: c, work: make(chan func(), 1)}
}

// handOver has the link's own goroutine run direction. It is called once, by who took the link.
func (p *parked) handOver(direction func()) { p.work <- direction }

// giveUp has the link closed. It is called once, by who took the link.
func (p *parked) giveUp() { close(p.work) }

func (p *parked) outward() outward { return outward{Conn: p.conn, spawn: p.handOver} }

// outward is a link to the outlet that somebody has for himself, and what runs the second of the
// two directions that are copied on it: see route.Request.Forward.
type outward struct {
	netio.Conn
	spawn func(direction func())
}

// decline closes a link that is not used after all.
func (o outward) decline() { o.spawn(func() { _ = o.Close() }) }

// spawn runs a direction of a link that has no goroutine of its own. Forward waits for it.
func spawn(direction func()) { go direction() }

// pool is the standby links of a lease: those that wait to be used, and those who wait for one. At
// any time there are only the former or the latter. It has a lock of its own. The zero value is
// ready.
type pool struct {
	mu      sync.Mutex
	links   []*parked      // the one that came last is taken first: the others may be spared
	waiting []chan *parked // the first is served first
	numbers replayFilter
	closed  bool
}

// spend reports whether a standby link's number had not been used.
func (p *pool) spend(number uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.numbers.use(number)
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
	p.links = append(p.links, l)
	parkedNow.Inc()
	return true
}

// sleep returns what a parked link's goroutine is to run, or nil if the link is to be closed: it
// has been given up, or nobody has needed it for a while and there are others.
func (p *pool) sleep(l *parked) (direction func()) {
	look := time.NewTicker(standbyIdle)
	defer look.Stop()
	for {
		select {
		case direction := <-l.work:
			return direction
		case <-look.C:
			if p.removeSurplus(l) {
				return nil
			}
		}
	}
}

// removeSurplus takes l out if it is there and more are than an outlet keeps without demand.
func (p *pool) removeSurplus(l *parked) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.links, l)
	if i < 0 || len(p.links) <= minStandby {
		return false
	}
	p.links = slices.Delete(p.links, i, i+1)
	parkedNow.Dec()
	return true
}

// take returns a link that waits, or nil. It is the caller's then: he hands it over or gives it up.
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
	p.mu.Unlock()
	parkedNow.Add(-int64(len(links)))
	for _, l := range links {
		l.giveUp()
	}
	for _, w := range waiting {
		close(w)
	}
}

// replayFilter remembers which of the last numbers have been used. Numbers that are too far behind
// the highest count as used. The zero value is ready.
type replayFilter struct {
	next uint64 // one more than the highest number used
	used uint64 // bit i: next-1-i has been used
}

// use reports whether n had not been used, and marks it as used.
func (f *replayFilter) use(n uint64) bool {
	if n >= f.next {
		f.used = f.used<<min(n-f.next+1, numberWindow) | 1
		f.next = n + 1
		return true
	}
	behind := f.next - 1 - n
	if behind >= numberWindow || f.used&(1<<behind) != 0 {
		return false
	}
	f.used |= 1 << behind
	return true
}

package relay

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/route/mux"
)

// registration is one outlet's claim of a name.
type lease struct {
	name    string
	owner   identity.Identifier
	id      [ticketIDSize]byte
	key     [ticketKeySize]byte
	muxOnly bool
	session *channel.Session
	ready   chan struct{} // closed when the outlet can be reached
	parted  chan struct{} // tells that a link to the outlet is not in use any more

	mu      sync.Mutex
	mux     *mux.Mux // nil until the outlet has been answered
	demand  *mux.Link
	spares  []*parked      // the one that came last is taken first
	waiting []chan *parked // those who lack one; the first is served first
	used    recent
	closed  bool
	revoked bool                    // its owner is not trusted with it any more
	joined  map[netio.Conn]struct{} // links to the outlet that are in use
}

// What the relay writes on the link for demands.
const (
	needSpare = 0 // a spare link is missing
	takenOver = 1 // the same identity has claimed the name anew: the end
)

// parked is a spare link. The goroutine that serves it does for whoever uses the link what it is told.
type parked struct {
	conn netio.Conn
	work chan func() // takes one piece of work; closed when the link has been given up
}

// open makes r able to reach the outlet.
func (r *lease) open(mux *mux.Mux) error {
	demand, err := mux.Open()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mux, r.demand = mux, demand
	close(r.ready)
	if r.closed {
		return mux.Close()
	}
	return nil
}

// supersede is close with a word to the outlet: or it would take the name back at once, and so on.
func (r *lease) supersede() {
	r.mu.Lock()
	demand := r.demand
	r.mu.Unlock()
	if demand != nil {
		_ = demand.SetWriteDeadline(time.Now().Add(demandTimeout))
		_, _ = demand.Write([]byte{takenOver})
	}
	r.close()
}

// close ends the registration's waiting links. Those in use live on.
func (r *lease) close() {
	r.mu.Lock()
	spares, waiting := r.spares, r.waiting
	mux := r.mux
	r.spares, r.waiting, r.closed = nil, nil, true
	r.mu.Unlock()
	for _, p := range spares {
		close(p.work)
	}
	for _, w := range waiting {
		close(w)
	}
	if mux != nil {
		_ = mux.Close()
	}
}

// join takes a link among those that end when r is revoked, unless that has been done.
func (r *lease) join(c netio.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revoked {
		return false
	}
	if r.joined == nil {
		r.joined = make(map[netio.Conn]struct{})
	}
	r.joined[c] = struct{}{}
	return true
}

func (r *lease) part(c netio.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.joined, c)
	select {
	case r.parted <- struct{}{}:
	default:
	}
}

// retire is revoke once no link is in use, and reports whether that is so.
func (r *lease) retire() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revoked = r.revoked || len(r.joined) == 0
	return r.revoked
}

// revoke ends the links in use: r's owner is not trusted any more.
func (r *lease) revoke() {
	r.mu.Lock()
	joined := r.joined
	r.joined, r.revoked = nil, true
	r.mu.Unlock()
	for c := range joined {
		_ = netio.Reset(c)
	}
}

// spend reports whether a spare link's number had not been used.
func (r *lease) spend(number uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used.use(number)
}

// park keeps a spare link. It reports false if there are enough.
func (r *lease) park(p *parked) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.spares) >= maxSpares {
		return false
	}
	if len(r.waiting) > 0 {
		r.waiting[0] <- p // it has room for one
		r.waiting = r.waiting[1:]
		return true
	}
	r.spares = append(r.spares, p)
	return true
}

// await returns what is to be done for whoever uses a parked link, or nil if the link is to be closed: it has been given
// up, or nobody has needed it for a while and there are others.
func (r *lease) await(p *parked) func() {
	look := time.NewTicker(spareIdle)
	defer look.Stop()
	for {
		select {
		case work := <-p.work:
			return work
		case <-look.C:
			if r.surplus(p) {
				return nil
			}
		}
	}
}

// surplus takes p out of the parked links if it is there and more are than an outlet keeps without demand.
func (r *lease) surplus(p *parked) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.spares, p)
	if i < 0 || len(r.spares) <= minSpares {
		return false
	}
	r.spares = slices.Delete(r.spares, i, i+1)
	return true
}

// awaitReady waits a moment for a claim that has been answered just now.
func (r *lease) awaitReady(ctx context.Context) {
	select {
	case <-r.ready:
		return
	default:
	}
	timer := time.NewTimer(spareWait)
	defer timer.Stop()
	select {
	case <-r.ready:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// link returns a link to the outlet, and what runs one piece of work for it besides the caller.
func (r *lease) link(ctx context.Context) (netio.Conn, func(func()), error) {
	r.awaitReady(ctx)
	for p := range r.takeSpares(ctx) {
		if netio.Quiet(p.conn) {
			return p.conn, func(work func()) { p.work <- work }, nil
		}
		close(p.work)
	}
	r.mu.Lock()
	mux := r.mux
	r.mu.Unlock()
	if mux == nil {
		return nil, nil, errors.New("the registration is not ready")
	}
	l, err := mux.Open()
	if err != nil {
		return nil, nil, err
	}
	return l, func(work func()) { go work() }, nil
}

// takeSpares yields spare links: those that are parked, and at last one that is asked for, if it comes soon.
func (r *lease) takeSpares(ctx context.Context) iter.Seq[*parked] {
	return func(yield func(*parked) bool) {
		for {
			p := r.takeSpare()
			if p == nil {
				break
			}
			if !yield(p) {
				return
			}
		}
		if p := r.awaitSpare(ctx); p != nil {
			yield(p)
		}
	}
}

// awaitSpare asks the outlet for a spare link, and returns nil if none comes soon.
func (r *lease) awaitSpare(ctx context.Context) *parked {
	w := make(chan *parked, 1)
	r.mu.Lock()
	demand := r.demand
	if demand == nil || r.muxOnly || r.closed {
		r.mu.Unlock()
		return nil
	}
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()
	_ = demand.SetWriteDeadline(time.Now().Add(demandTimeout))
	_, _ = demand.Write([]byte{needSpare})
	timer := time.NewTimer(spareWait)
	defer timer.Stop()
	select {
	case p := <-w:
		return p
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	r.waiting = slices.DeleteFunc(r.waiting, func(other chan *parked) bool { return other == w })
	r.mu.Unlock()
	select {
	case p := <-w: // it came at the last moment
		return p
	default:
		return nil
	}
}

func (r *lease) takeSpare() *parked {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.spares) == 0 {
		return nil
	}
	last := len(r.spares) - 1
	p := r.spares[last]
	r.spares = r.spares[:last]
	return p
}

// recent remembers which of the last numbers have been used.
type recent struct {
	next uint64 // one more than the highest number used
	used uint64 // bit i: next-1-i has been used
}

// use reports whether n had not been used, and marks it as used.
func (r *recent) use(n uint64) bool {
	if n >= r.next {
		r.used = r.used<<min(n-r.next+1, spareWindow) | 1
		r.next = n + 1
		return true
	}
	behind := r.next - 1 - n
	if behind >= spareWindow || r.used&(1<<behind) != 0 {
		return false
	}
	r.used |= 1 << behind
	return true
}

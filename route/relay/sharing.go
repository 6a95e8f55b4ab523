package relay

import (
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// sharing is what a lease has besides that shares its name with others of its owner's. It has a
// lock of its own.
type sharing struct {
	sick atomic.Bool // the outlet says that its target is not well

	mu   sync.Mutex
	ways map[route.Way]int // how many links are open that have come by each
	told map[route.Way]int // of that the way goes away
}

func newSharing() *sharing {
	return &sharing{ways: make(map[route.Way]int), told: make(map[route.Way]int)}
}

// comes counts a link that has come by a way, until ended is called, once.
func (s *sharing) comes(by route.Way) (ended func()) {
	if by.IsDirect() {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ways[by]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ways[by]--; s.ways[by] == 0 {
			delete(s.ways, by)
			delete(s.told, by)
		}
	}
}

// tellsOf counts that somebody is told of a way that goes away, by which links have come, and
// returns how often that has been done before. It reports false if none has come by that.
func (s *sharing) toldOf(by route.Way) (before int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told[by], s.ways[by] > 0
}

func (s *sharing) tells(by route.Way) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ways[by] > 0 {
		s.told[by]++
	}
}

// hear reads what the outlet says of its target, until the mux ends.
func (l *Lease) hear() {
	l.mu.Lock()
	link := l.demands
	l.mu.Unlock()
	var b [1]byte
	for {
		if _, err := io.ReadFull(link, b[:]); err != nil {
			return
		}
		switch b[0] {
		case saysWell:
			l.sharing.sick.Store(false)
		case saysSick:
			l.sharing.sick.Store(true)
		}
	}
}

// isLeaving tells whether the outlet takes nothing new any more.
func (l *Lease) isLeaving() bool {
	select {
	case <-l.session.GoingAway():
		return true
	default:
		return false
	}
}

// leads returns what leads links to who has a name.
func (s *Server) leads(a Answer) route.Handler {
	if len(a.Shared) == 0 {
		return a.Lease.forward
	}
	return func(ctx context.Context, q *route.Request) error {
		l, err := s.choose(a.Shared, q)
		if err != nil {
			return err
		}
		return l.forward(ctx, q)
	}
}

// choose returns where a link goes, of the leases that share a name: to the process that it asks
// for, or to the one to which the fewest lead.
func (s *Server) choose(all []*Lease, q *route.Request) (*Lease, error) {
	if of, ok := q.Instance(); ok {
		for _, l := range all {
			if l.instance == Instance(of) {
				return l, nil
			}
		}
		return nil, s.absent(all[0].name, Instance(of))
	}
	if q.SaysLeaving() {
		if l := told(all, q.CameBy()); l != nil {
			return l, nil
		}
	}
	return least(all), nil
}

// absent is what somebody is told who asks for a process that has not got the name.
func (s *Server) absent(name string, of Instance) error {
	if s.left.has(name, of, time.Now()) {
		return route.Refuse(wire.NoService, "that process of the outlet "+name+" has left")
	}
	return route.Refuse(wire.Unreachable, notHere(name))
}

func notHere(name string) string { return "that process of the outlet " + name + " is not here" }

// least returns the lease to which the fewest links lead, of those that are well if one is, and of
// several one or the other.
func least(all []*Lease) (best *Lease) {
	worth := func(l *Lease) (bad, links int) {
		if l.sharing.sick.Load() {
			bad = 1
		}
		if l.isLeaving() {
			bad = 2
		}
		return bad, l.parked.inUse()
	}
	from := rand.N(len(all))
	var bad, links int
	for i := range all {
		l := all[(from+i)%len(all)]
		b, n := worth(l)
		if best == nil || b < bad || b == bad && n < links {
			best, bad, links = l, b, n
		}
	}
	return best
}

// told returns the lease whose outlet is to be told next that a way goes away by which links have
// come: who says so does that several times. It is nil if none has come by that way.
func told(all []*Lease, by route.Way) (next *Lease) {
	var least int
	for _, l := range all {
		if n, ok := l.sharing.toldOf(by); ok && (next == nil || n < least) {
			next, least = l, n
		}
	}
	if next != nil {
		next.sharing.tells(by)
	}
	return next
}

// resolveShared finds what says which processes share a name.
func (s *Server) resolveShared(ctx context.Context, name string) (none route.Service, err error) {
	a, err := s.directory.Lookup(ctx, name)
	if err != nil {
		return none, notNow(name, err)
	}
	if a.Where != Here || a.Lease == nil {
		return none, nil
	}
	return route.Service{Handler: func(_ context.Context, q *route.Request) error {
		var list []Sharer
		for _, l := range a.Shared {
			if !l.isLeaving() {
				list = append(list, Sharer{l.instance, l.sharing.sick.Load()})
			}
		}
		return tell(q, AppendSharers(nil, list))
	}}, nil
}

// left is which processes that shared names have been seen to leave, and when. It has a lock of its
// own. The zero value is empty.
type left struct {
	mu    sync.Mutex
	at    map[sharerKey]time.Time
	names map[string]int // how many of those are of each
}

type sharerKey struct {
	name string
	of   Instance
}

// reasonToLeave tells whether a lease has ended because its outlet has, and not because that keeps
// the name elsewhere, or is silent, or somebody else has the name.
func reasonToLeave(l *Lease, reason error) bool {
	ours := []error{errClaimedAnew, errNameLost}
	return reason != nil && !l.wasSilent() && !slices.Contains(ours, reason)
}

func (f *left) add(l *Lease, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == nil {
		f.at, f.names = make(map[sharerKey]time.Time), make(map[string]int)
	}
	k := sharerKey{l.name, l.instance}
	f.dropLocked(k)
	if len(f.at) >= maxLeft {
		for k, at := range f.at {
			if now.Sub(at) >= leftFor {
				f.dropLocked(k)
			}
		}
	}
	if len(f.at) < maxLeft {
		f.at[k] = now
		f.names[k.name]++
	}
}

func (f *left) dropLocked(k sharerKey) {
	if _, ok := f.at[k]; !ok {
		return
	}
	delete(f.at, k)
	if f.names[k.name]--; f.names[k.name] == 0 {
		delete(f.names, k.name)
	}
}

// remove takes note that a process is there again.
func (f *left) remove(l *Lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropLocked(sharerKey{l.name, l.instance})
}

// knows tells whether processes have left a name.
func (f *left) knows(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.names[name] > 0
}

// has tells whether a process has left for good.
func (f *left) has(name string, of Instance, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.at[sharerKey{name, of}]
	ago := now.Sub(at)
	return ok && ago >= leftAfter && ago < leftFor
}

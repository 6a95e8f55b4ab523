package route

import (
	"container/list"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

const (
	openingKept  = 4           // of the places, this part is for sources that have few
	openingFew   = 4           // fewer than these
	openingGrace = time.Second // after which a link may have to make room: an honest one needs a round trip or two
)

// openings are the links that nothing is known of: who made them, or where they lead. Everybody can make those, so there
// are places for so many, and as many more for sources that somebody trusted has come from. It is not safe for concurrent
// use.
type openings struct {
	common, reserve pool
	proven          proven
	leaving         int // links that had to make room, and are not at their end yet
	mostLeaving     int
}

// place is a link's among the openings.
type place struct {
	conn  netio.Conn
	from  source
	since time.Time
	pool  *pool
	turn  *list.Element // nil when it had to make room
}

func newOpenings(most int) *openings {
	return &openings{common: newPool(most), reserve: newPool(most), proven: newProven(), mostLeaving: max(most/openingKept, 1)}
}

// admit gives conn a place, or says which limit is in the way. A few sources that take all they can do not keep others
// out, for the last places are for sources that have few; nor do many, for the oldest link, which is to be reset, makes
// room when those are taken too. Those behind the address of one that takes all it can have its places to share.
func (o *openings) admit(conn netio.Conn, now time.Time) (l, displaced *place, err error) {
	l = &place{conn: conn, from: sourceOf(conn.RemoteAddr()), since: now}
	pools := []*pool{&o.common}
	if o.proven.has(l.from, now) {
		pools = []*pool{&o.reserve, &o.common}
	}
	for _, p := range pools {
		if err = p.take(l); err == nil {
			return l, nil, nil
		}
	}
	if o.leaving >= o.mostLeaving {
		return nil, nil, err
	}
	for _, p := range pools {
		if displaced := p.displaceFor(l); displaced != nil {
			o.leaving++
			return l, displaced, nil
		}
	}
	return nil, nil, err
}

// leave takes note that something is known of l, or that it is at its end.
func (o *openings) leave(l *place) {
	if l.turn == nil {
		o.leaving--
		return
	}
	l.pool.release(l)
}

// pool is some of the places.
type pool struct {
	most   int
	kept   int // of them, for sources that have fewer than few
	few    int
	taken  census
	oldest list.List // of *place, the oldest first
}

func newPool(most int) pool {
	kept := most / openingKept
	return pool{most: most, kept: kept, few: min(openingFew, max(kept/2, 1)), taken: newCensus()}
}

// take gives l a place if there is one.
func (p *pool) take(l *place) error {
	limits := Limits{Connections: p.most, PerSource: p.most}
	if p.taken.by[l.from] >= p.few {
		limits.Connections -= p.kept
	}
	if err := p.taken.admit(limits, l.from); err != nil {
		return err
	}
	l.pool, l.turn = p, p.oldest.PushBack(l)
	return nil
}

// displaceFor gives l the place of the oldest link that has had its time, where there is none for l: of any source, or if
// that of l has not few, of the same.
func (p *pool) displaceFor(l *place) *place {
	few := p.taken.by[l.from] < p.few
	for e := p.oldest.Front(); e != nil; e = e.Next() {
		old := e.Value.(*place)
		if l.since.Sub(old.since) < openingGrace {
			return nil
		}
		if few || old.from == l.from {
			p.release(old)
			p.taken.enter(l.from)
			l.pool, l.turn = p, p.oldest.PushBack(l)
			return old
		}
	}
	return nil
}

func (p *pool) release(l *place) {
	p.oldest.Remove(l.turn)
	l.turn = nil
	p.taken.leave(l.from)
}

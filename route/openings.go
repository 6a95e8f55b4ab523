package route

import (
	"container/list"
	"time"

	"github.com/secureportal/sp/internal/netio"
)

const (
	openingShare = 4           // one source has at most this part of the places
	openingFew   = 4           // and that part is kept for sources that have fewer than these
	openingGrace = time.Second // after which a link may have to make room: an honest one needs a round trip or two

	provenFor  = time.Hour // for which a source of somebody trusted has places of its own
	provenKept = 4096      // such sources
)

// openings are the links that nothing is known of: who made them, or where they lead. Everybody can make those, so there
// are places for so many, and more for the sources that somebody trusted has come from. It is not safe for concurrent
// use.
type openings struct {
	most    int
	taken   census
	oldest  list.List            // of *place, the oldest first
	leaving int                  // links that had to make room, and are not at their end yet
	proven  map[source]time.Time // when somebody trusted has come from there
}

// place is a link's among the openings.
type place struct {
	conn  netio.Conn
	from  source
	since time.Time
	turn  *list.Element // nil when it had to make room
}

func newOpenings(most int) *openings {
	return &openings{most: most, taken: census{by: make(map[any]int)}, proven: make(map[source]time.Time)}
}

// admit gives conn a place, or says which limit is in the way. A few sources that take all they can do not keep others
// out, for the last places are for sources that have few; nor do many, for the oldest link, which is to be reset, makes
// room when those are taken too.
func (o *openings) admit(conn netio.Conn, now time.Time) (l *place, displaced netio.Conn, err error) {
	from := sourceOf(conn.RemoteAddr())
	share := o.most / openingShare
	limits := Limits{Connections: o.most, PerSource: max(share, 1)}
	switch {
	case now.Sub(o.proven[from]) < provenFor:
		limits.Connections += share
	case o.taken.by[from] < min(openingFew, max(share/2, 1)):
		displaced = o.displace(now)
	default:
		limits.Connections -= share
	}
	if err := o.taken.admit(limits, from); err != nil {
		return nil, displaced, err
	}
	l = &place{conn: conn, from: from, since: now}
	l.turn = o.oldest.PushBack(l)
	return l, displaced, nil
}

// displace takes its place from the oldest link, if all are taken and it has had some time.
func (o *openings) displace(now time.Time) netio.Conn {
	if o.taken.all != o.most || o.leaving >= max(o.most/openingShare, 1) {
		return nil
	}
	l := o.oldest.Front().Value.(*place)
	if now.Sub(l.since) < openingGrace {
		return nil
	}
	o.leave(l)
	o.leaving++
	return l.conn
}

// prove takes note that somebody trusted has come from a source. When there are too many, any other is forgotten.
func (o *openings) prove(from source, now time.Time) {
	o.proven[from] = now
	for other := range o.proven {
		if len(o.proven) <= provenKept {
			break
		}
		if other != from {
			delete(o.proven, other)
		}
	}
}

// leave takes note that something is known of l, or that it is at its end.
func (o *openings) leave(l *place) {
	if l.turn == nil {
		o.leaving--
		return
	}
	o.oldest.Remove(l.turn)
	l.turn = nil
	o.taken.leave(l.from)
}

package route

import (
	"container/list"
	"time"
)

const (
	provenFor  = 24 * time.Hour // for which a source is known that somebody trusted has come from
	provenKept = 4096           // sources that are known and have no link
)

// proven is the sources that somebody trusted has come from: they are known while they have a link, and for a while
// after. It is not safe for concurrent use.
type proven struct {
	by   map[source]*provenSource
	idle list.List // of *provenSource without a link, the one whose last link ended first is first
}

type provenSource struct {
	from  source
	links int
	since time.Time     // when the last link ended
	turn  *list.Element // nil while there are links
}

func newProven() proven { return proven{by: make(map[source]*provenSource)} }

// has tells whether a source is known.
func (p *proven) has(from source, now time.Time) bool {
	s := p.by[from]
	return s != nil && (s.links > 0 || now.Sub(s.since) < provenFor)
}

// enter takes note of a link of somebody trusted, until leave is called with the same source.
func (p *proven) enter(from source) {
	s := p.by[from]
	if s == nil {
		s = &provenSource{from: from}
		p.by[from] = s
	}
	if s.turn != nil {
		p.idle.Remove(s.turn)
		s.turn = nil
	}
	s.links++
}

// leave is the end of enter. Of too many sources without a link, the one that has been so for longest is forgotten.
func (p *proven) leave(from source, now time.Time) {
	s := p.by[from]
	if s.links--; s.links > 0 {
		return
	}
	s.since = now
	s.turn = p.idle.PushBack(s)
	if p.idle.Len() > provenKept {
		old := p.idle.Remove(p.idle.Front()).(*provenSource)
		delete(p.by, old.from)
	}
}

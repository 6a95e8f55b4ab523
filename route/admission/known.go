package admission

import (
	"container/list"
	"time"
)

const (
	knownFor  = 24 * time.Hour // for which a source stays known
	knownKept = 4096           // known sources that have no link
)

// known is the known sources: those that an authenticated peer has come from. They are known while
// such a peer has a link, and for a while after. It has no lock.
type known struct {
	by    map[Source]*knownSource
	idle  list.List // of *knownSource without a link, in the order in which their last links ended
	links int       // of all of them
}

type knownSource struct {
	from  Source
	links int
	since time.Time     // when the last link ended
	turn  *list.Element // in idle; nil while there are links
}

func newKnown() *known { return &known{by: make(map[Source]*knownSource)} }

// has tells whether a source is known.
func (k *known) has(from Source, now time.Time) bool {
	if from.trusted {
		return true
	}
	s := k.by[from]
	return s != nil && (s.links > 0 || now.Sub(s.since) < knownFor)
}

// enter counts a link of an authenticated peer, until leave is called with the same source.
func (k *known) enter(from Source) {
	s := k.by[from]
	if s == nil {
		s = &knownSource{from: from}
		k.by[from] = s
	}
	if s.turn != nil {
		k.idle.Remove(s.turn)
		s.turn = nil
	}
	s.links++
	k.links++
}

// leave is the end of enter. Of too many sources without a link, the one that has been so for
// longest is forgotten.
func (k *known) leave(from Source, now time.Time) {
	k.links--
	s := k.by[from]
	if s.links--; s.links > 0 {
		return
	}
	s.since = now
	s.turn = k.idle.PushBack(s)
	if k.idle.Len() > knownKept {
		old := k.idle.Remove(k.idle.Front()).(*knownSource)
		delete(k.by, old.from)
	}
}

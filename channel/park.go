package channel

import (
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/noise"
)

var (
	_ netio.Parker = (*Flow)(nil)
	_ netio.Parker = (*link)(nil)

	_ netio.MayParker = (*Flow)(nil)
)

// MayPark implements netio.MayParker: a flow that has lost its link cannot.
func (f *Flow) MayPark() bool {
	l, ok := f.carrier().(*link)
	return ok && l.parks && netio.MayPark(l.Conn)
}

// Park implements netio.Parker, and holds no memory that what comes next can have again.
func (l *link) Park(ready func()) bool { return l.parkAndGlance(nil, ready) }

// parkAndGlance is netio.ParkAndGlance.
func (l *link) parkAndGlance(glance func() bool, ready func()) bool {
	if l.in != nil {
		l.in.Release()
	}
	return l.parks && netio.ParkAndGlance(l.Conn, glance, ready)
}

// Park implements netio.Parker. What only keeps the flow alive is none of its user's affairs.
// Nothing is sent while nothing goes on; what keeps it alive is received now and then, and to
// expand its key each time would make more garbage than it saves.
func (f *Flow) Park(ready func()) bool {
	r := &f.receiving
	r.Lock()
	c := f.carrier()
	waits := r.err == nil && !r.ended && len(r.data) == 0 && r.from == c && !r.in.holdsRecord()
	if waits {
		r.in.Release()
	}
	r.Unlock()
	if waits && f.sending.TryLock() {
		f.sending.cipher.rest()
		f.sending.Unlock()
	}
	l, ok := c.(*link)
	if !waits || !ok {
		return false
	}
	p := &parkedFlow{flow: f, ready: ready}
	return l.parkAndGlance(p.glance, p.arrived)
}

// parkedFlow is a flow on whose link nobody waits for anything.
type parkedFlow struct {
	flow  *Flow
	ready func()
	err   error // of what has been glanced at
}

// glance opens what only keeps the flow alive, and reports whether there is nothing else.
func (p *parkedFlow) glance() bool {
	f := p.flow
	r := &f.receiving
	if !r.TryLock() {
		return false
	}
	defer r.Unlock()
	c := f.carrier()
	if r.err != nil || r.ended || len(r.data) > 0 || r.from != c || f.lasting.heldBack() != nil {
		return false
	}
	if !r.in.fillNow(c.(*link).Conn) {
		return false
	}
	f.moves.Add(1)
	for n := 0; r.in.holdsRecord(); n++ {
		if n == glanceMost || !r.in.nextIs(0) {
			return false
		}
		opened, err := f.openLocked(typeSize + noise.TagSize)
		if p.err = err; !opened || r.ended {
			return false
		}
	}
	r.in.Release()
	return true
}

// arrived opens what has arrived.
func (p *parkedFlow) arrived() {
	if f := p.flow; f.openArrived(p.err) || !f.Park(p.ready) {
		p.ready()
	}
}

// openArrived reads once, unless there is a record already, and reports whether there is something
// for the user: data, an end, or an error. err is of a record that was opened before.
func (f *Flow) openArrived(err error) bool {
	r := &f.receiving
	r.Lock()
	defer r.Unlock()
	if r.err != nil || r.ended || len(r.data) > 0 {
		return true // somebody else has read it, who has reset the flow or waited for its end
	}
	if f.lasting.heldBack() != nil && err == nil {
		return true // who waits for it must be the user
	}
	if err == nil && !r.in.holdsRecord() {
		err = f.fillLocked()
		if isTimeout(err) && f.isOpen() {
			return true
		}
		err = linkError(err)
	}
	for opened := true; err == nil && opened && len(r.data) == 0 && !r.ended; {
		opened, err = f.openLocked(maxBody)
	}
	if err != nil {
		f.receiveFailedLocked(err)
	}
	return r.err != nil || r.ended || len(r.data) > 0
}

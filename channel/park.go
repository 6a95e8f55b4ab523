package channel

import "github.com/secureportal/sp/internal/netio"

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
func (l *link) Park(ready func()) bool {
	if l.in != nil {
		l.in.Release()
	}
	return l.parks && netio.Park(l.Conn, ready)
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
	return waits && netio.Park(c, func() { f.arrived(ready) })
}

// arrived opens what has arrived on a carrier on which nobody waits for anything.
func (f *Flow) arrived(ready func()) {
	if f.openArrived() || !f.Park(ready) {
		ready()
	}
}

// openArrived reads once, and reports whether there is something for the user: data, an end, or an
// error.
func (f *Flow) openArrived() bool {
	r := &f.receiving
	r.Lock()
	defer r.Unlock()
	if r.err != nil || r.ended || len(r.data) > 0 {
		return true // somebody else has read it, who has reset the flow or waited for its end
	}
	if f.lasting.heldBack() != nil {
		return true // who waits for it must be the user
	}
	err := f.fillLocked()
	if isTimeout(err) && f.isOpen() {
		return true
	}
	err = linkError(err)
	for opened := true; err == nil && opened && len(r.data) == 0 && !r.ended; {
		opened, err = f.openLocked(maxBody)
	}
	if err != nil {
		f.receiveFailedLocked(err)
	}
	return r.err != nil || r.ended || len(r.data) > 0
}

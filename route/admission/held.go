package admission

import (
	"container/list"

	"github.com/secureportal/sp/identity"
)

const (
	targetsPart = 4  // of all descriptors, this part is kept for targets, and no link's
	othersPart  = 4  // of what links may have, this part is for identities that have few,
	heldFew     = 16 // fewer than these
	sparePart   = 4  // spare links leave this part of what links may have
)

// descriptors counts what a node has open for those who come by its links. It has no lock.
type descriptors struct {
	most    int // 0: no bound
	links   int
	targets int
}

// mostLinks is how many links there may be.
func (d *descriptors) mostLinks() int { return d.most - d.most/targetsPart }

// linkFits tells whether there may be one more, and still so many.
func (d *descriptors) linkFits(leave int) bool {
	return d.most == 0 || d.links < d.mostLinks()-leave && d.links+d.targets < d.most
}

// linksLeftFor tells whether an identity that has n links may have more.
func (d *descriptors) linksLeftFor(n int) bool {
	return d.most == 0 || n < heldFew || d.links < d.mostLinks()-d.mostLinks()/othersPart
}

func (d *descriptors) targetLeftFor(n int) bool {
	all := d.links + d.targets
	return d.most == 0 || all < d.most && (n < heldFew || all < d.most-d.most/othersPart)
}

// Link counts a descriptor that is a link's until end is called, once, or says that those that are
// left are for targets.
func (a *Admission) Link() (end func(), err error) { return a.link(0) }

// StandbyLink is Link for one that is made ahead, for whoever comes by a relay, and is not needed:
// they come otherwise then. It leaves some for others.
func (a *Admission) StandbyLink() (end func(), err error) {
	return a.link(a.descriptors.mostLinks() / sparePart)
}

func (a *Admission) link(leave int) (end func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.descriptors.linkFits(leave) {
		linksOver.Inc()
		return nil, ErrTooMany
	}
	a.descriptors.links++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.descriptors.links--
	}, nil
}

// held is the links of an identity's sessions: those that have a flow, and those that rest.
type held struct {
	flows   int
	resting list.List // of *resting, the one that has rested longest is first
}

func (h *held) all() int { return h.flows + h.resting.Len() }

// heldOfLocked returns the links of an identity; forgetLocked forgets those of one that has none.
func (a *Admission) heldOfLocked(id identity.Identifier) *held {
	h := a.held[id]
	if h == nil {
		h = new(held)
		a.held[id] = h
	}
	return h
}

func (a *Admission) forgetLocked(id identity.Identifier) {
	if h := a.held[id]; h != nil && h.all() == 0 {
		delete(a.held, id)
	}
}

// overLocked tells whether an identity has more links than it may.
func (a *Admission) overLocked(h *held) bool {
	return h.all() > a.limits.PerIdentity || !a.descriptors.linksLeftFor(h.all())
}

// BeginFlow counts a link of an identity's session, which has a flow, until EndFlow is called with
// the same. Where the identity has too many links, one that rests is closed; if there is none, it
// fails.
func (a *Admission) BeginFlow(id identity.Identifier) error {
	a.mu.Lock()
	h := a.heldOfLocked(id)
	h.flows++
	var old *resting
	if a.overLocked(h) {
		if old = h.oldest(); old == nil {
			h.flows--
			a.forgetLocked(id)
			a.mu.Unlock()
			ofIdentityRefused.Inc()
			return ErrTooManyFromThere
		}
	}
	a.mu.Unlock()
	old.closeLink()
	return nil
}

// EndFlow is the end of BeginFlow.
func (a *Admission) EndFlow(id identity.Identifier) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held[id].flows--
	a.forgetLocked(id)
}

// resting is a link of an identity's session that waits for its next flow.
type resting struct {
	close func()
	turn  *list.Element // nil once it is to be closed
}

// Rest counts a link of an identity's session that has no flow, until end is called, once. Where
// the identity has too many links, the one that has rested longest is closed: by what the call of
// Rest for it has been given, which must not wait.
func (a *Admission) Rest(id identity.Identifier, closeLink func()) (end func()) {
	r := &resting{close: closeLink}
	a.mu.Lock()
	h := a.heldOfLocked(id)
	r.turn = h.resting.PushBack(r)
	var old *resting
	if a.overLocked(h) {
		old = h.oldest()
	}
	a.mu.Unlock()
	old.closeLink()
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if r.turn != nil {
			h.resting.Remove(r.turn)
			r.turn = nil
		}
		a.forgetLocked(id)
	}
}

// oldest takes out the link that has rested longest, or returns nil.
func (h *held) oldest() *resting {
	e := h.resting.Front()
	if e == nil {
		return nil
	}
	old := h.resting.Remove(e).(*resting)
	old.turn = nil
	return old
}

func (r *resting) closeLink() {
	if r != nil {
		restingClosed.Inc()
		r.close()
	}
}

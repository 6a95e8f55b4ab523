package mesh

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// toldTo is how many of a name's homes know whose it is.
const toldTo = 3

// toldWithin is for how long a node that has been started waits to be told whose names are.
const toldWithin = 5 * time.Second

// expireEach is when names are looked for that belong to nobody any more.
const expireEach = 10 * time.Minute

// Claim implements relay.Directory. A name belongs to the identity that has claimed it first, on
// any node of the set, as far as this one knows. One that has just been started waits a moment to
// be told.
func (m *Mesh) Claim(ctx context.Context, l *relay.Lease) (release func(), err error) {
	if err := m.awaitTold(ctx); err != nil {
		return nil, err
	}
	if m.isOthers(l) {
		return nil, errOthers(l.Name())
	}
	giveBack, err := m.Memory.Claim(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := m.own(l.Name(), l.Owner()); err != nil { // others have been faster
		giveBack()
		return nil, err
	}
	m.tellOf(l.Name())
	m.owned(l.Name())
	return func() {
		giveBack()
		m.disown(l)
	}, nil
}

// awaitTold returns when the nodes that this one knows have told whose names are, or it has run for
// long enough not to expect that any more.
func (m *Mesh) awaitTold(ctx context.Context) error {
	for {
		m.mu.Lock()
		wait := toldWithin - time.Since(m.begun)
		if len(m.config.Seeds) == 0 {
			wait = 0 // it is alone
		}
		told := m.isToldLocked()
		changed := m.changed
		m.mu.Unlock()
		if told || wait <= 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// isToldLocked tells whether there are other nodes, and each that this one knows has told.
func (m *Mesh) isToldLocked() bool {
	for _, p := range m.peers {
		if len(p.links) > 0 && !p.told {
			return false
		}
	}
	return len(m.peers) > 0
}

func errOthers(name string) error {
	return route.Refuse(wire.NameTaken, "the name "+name+" belongs to another identity")
}

// own takes note that an identity holds a name here.
func (m *Mesh) own(name string, who identity.Identifier) error {
	m.owning.Lock()
	defer m.owning.Unlock()
	_, err := m.owners.Claim(time.Now(), name, who)
	switch {
	case errors.Is(err, set.ErrTaken):
		return errOthers(name)
	case err != nil:
		return route.Refuse(wire.Busy, err.Error())
	}
	return nil
}

// isOthers tells whether a name belongs to another identity than a lease.
func (m *Mesh) isOthers(l *relay.Lease) bool {
	m.owning.Lock()
	defer m.owning.Unlock()
	who, ok := m.owners.Owner(time.Now(), l.Name())
	return ok && who != l.Owner()
}

// disown takes note that a lease has ended, unless its owner has another one of the name.
func (m *Mesh) disown(l *relay.Lease) {
	a, _ := m.Memory.Lookup(context.Background(), l.Name())
	if a.Lease != nil && a.Lease.Owner() == l.Owner() {
		return
	}
	m.owning.Lock()
	changed := m.owners.Release(time.Now(), l.Name(), l.Owner())
	m.owning.Unlock()
	if changed {
		m.tellOf(l.Name())
		m.owned(l.Name())
	}
}

func (m *Mesh) owned(name string) {
	if m.config.Owned != nil {
		m.config.Owned(name)
	}
}

// hearOf takes in whose names are according to another node.
func (m *Mesh) hearOf(l *link, records []set.Record) {
	for _, r := range records {
		m.owning.Lock()
		now := m.owners.Learn(time.Now(), l.peer, r)
		m.owning.Unlock()
		m.follow(r, now, "on another relay of the set")
		if now.Answer {
			l.tell(r.Name)
		}
	}
}

// follow does what follows from what was told of a name.
func (m *Mesh) follow(r set.Record, now set.Learned, where string) {
	if now.Lost {
		m.logger.Warn("a name is another identity's, which has claimed it before "+where,
			"name", r.Name, "identifier", now.Was, "owner", r.Who)
		m.Memory.Revoke(r.Name, now.Was)
	}
	if now.Changed {
		m.tellOf(r.Name)
		m.owned(r.Name)
	}
	if now.Refused && m.refused.Due(time.Now()) {
		m.logger.Warn("whose a name is cannot be remembered: too many are known",
			"name", r.Name, "identifier", r.Who)
	}
}

// hasTold takes note that another node has told whose names are.
func (m *Mesh) hasTold(id set.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[id]; p != nil && !p.told {
		p.told = true
		m.tellLocked()
	}
}

// tellOf has the name's homes told whose it is.
func (m *Mesh) tellOf(name string) {
	homes := m.List().Claims(name, toldTo)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range homes {
		if p := m.peers[n.ID]; p != nil {
			for l := range p.links {
				l.tell(name)
			}
		}
	}
}

// records are what another node is to be told of some names, or of all that are at home there.
func (m *Mesh) records(to set.NodeID, names map[string]bool, all bool) (told []set.Record) {
	m.owning.Lock()
	if all {
		told = m.owners.Records(time.Now(), nil)
	}
	for name := range names {
		if r, ok := m.owners.Record(time.Now(), name); ok && !all {
			told = append(told, r)
		}
	}
	m.owning.Unlock()
	if !all {
		return told
	}
	list := m.List()
	return slices.DeleteFunc(told, func(r set.Record) bool {
		return !names[r.Name] && !isHome(list, r.Name, to)
	})
}

// isHome tells whether a node is one of those that know whose a name is.
func isHome(list *set.List, name string, id set.NodeID) bool {
	return slices.ContainsFunc(list.Claims(name, toldTo), func(n set.Node) bool {
		return n.ID == id
	})
}

// Record returns what is known of whose a name is, for those who are told.
func (m *Mesh) Record(name string) (set.Record, bool) {
	m.owning.Lock()
	defer m.owning.Unlock()
	return m.owners.Record(time.Now(), name)
}

// Names returns the names of which something is known.
func (m *Mesh) Names() []string {
	m.owning.Lock()
	defer m.owning.Unlock()
	return m.owners.Names()
}

// Speaks tells whether this node speaks for the set of whose a name is: it is the one that decides
// where claims came too soon after each other.
func (m *Mesh) Speaks(name string) bool { return m.List().Judge(name) == m.id }

// Hear takes in whose a name is according to a node of another set, which speaks for that. It is
// judged if that one decides where claims came too soon after each other, and this one does if not.
// It reports whether that one is to be told what is known here.
func (m *Mesh) Hear(_ set.NodeID, judged bool, r set.Record) (answer bool) {
	m.owning.Lock()
	now := m.owners.LearnBetween(time.Now(), judged, r)
	m.owning.Unlock()
	m.follow(r, now, "in another set")
	return now.Answer
}

// keepExpiring forgets names that belong to nobody any more, until ctx ends.
func (m *Mesh) keepExpiring(ctx context.Context) {
	again := time.NewTicker(expireEach)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		m.owning.Lock()
		m.owners.Expire(time.Now())
		m.owning.Unlock()
	}
}

package relay

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// Directory knows where outlets are: which relay holds a name, and for whom. A relay alone has one
// in memory; relays that come in sets share what is behind theirs. It is safe for concurrent use.
//
// Nobody has to trust a directory. What it answers is where to try: the inlet and the outlet
// authenticate each other end to end, by name, whatever lies between them. A directory that lies,
// or is out of date, costs a refused try. It may keep people apart; it cannot bring the wrong ones
// together, and it sees no key and no byte of theirs. But the relay dials where it says PassOn: who
// may write into a directory may have the relay dial any address that it can reach, with an opening
// message for a name.
type Directory interface {
	// Lookup says where a name is. It is called for each link of an inlet, before that counts
	// for any limit: what takes long belongs into the answer's More, with Lookup answering from
	// what is known. An error is "not now": the asker may try again, and is not told the error.
	Lookup(ctx context.Context, name string) (Answer, error)

	// Claim takes a name for a lease, until release is called, which is once. From then on, until
	// release or the next claim of the name, Lookup answers Here and the lease on this relay.
	//
	// A name belongs to the identity that has claimed it: a claim by another one fails. One by the
	// same takes the name from the lease that had it, which hears of that by Watch, if it is of the
	// same process, or Replaces, or the other lease's process is not there any more (IsHeld);
	// otherwise it fails. Leases that share their name (IsShared) have it together, if they are of
	// different processes. release of a lease that has lost its name changes nothing. A
	// *route.StatusError is told to the outlet as it is, and another error without its text.
	Claim(ctx context.Context, l *Lease) (release func(), err error)

	// Watch has changed called, once, when Lookup may answer otherwise for a name than when Watch
	// was called, and no sooner than it does. It may be called for nothing, but not watch after
	// watch, and not any more once forget has been called, but for a call that is under way then.
	// It must neither wait nor use the directory. Nothing is kept for the caller afterwards: a
	// relay watches all of its names. forget may be called at any time, and again.
	Watch(name string, changed func()) (forget func())
}

// Where is where a name is.
type Where uint8

// The answers to a Lookup, besides an error, which is "not now".
const (
	Nobody    Where = iota // nobody holds the name
	Here                   // this relay has the lease
	Elsewhere              // another node has it, to which the asker may go
	PassOn                 // another relay may have it, to which this one passes links on
)

// Answer is what a directory knows of a name. The zero value is that nobody holds it.
type Answer struct {
	Where Where

	// Lease is the lease, if it is Here: one that this relay has given to Claim.
	Lease *Lease

	// Shared is all leases that share the name, Lease among them, if it is shared: nobody may change
	// it.
	Shared []*Lease

	// Routes lead to nodes that hold the name, without a service. If it is Elsewhere, there is
	// one, for the asker, who is told of it in the reason of a refusal: the protocol has no
	// redirect. If it is PassOn, they are for this relay, the likeliest first, and have no secure
	// step: the link goes on to the first of those nodes that has the name. None passes it on once
	// more. A relay that is private refuses the link: it asks who comes, and this one cannot answer
	// for him. Those who may use it are sent there, with Elsewhere.
	Routes []route.Route

	// Likely says that Routes lead to who holds the name, as far as anybody knows.
	Likely bool

	// More returns further routes for PassOn, for which somebody has to be asked, and takes its time
	// for that, but ends with ctx. It is called at most once for each link, when that counts: while
	// Routes are tried, or, where those are Likely, when they have led nowhere. source is whose link
	// it is, for limits. An error is "not now". Nil is that nobody is to be asked.
	More func(ctx context.Context, source string) ([]route.Route, error)

	// Failed is told of a route, of Routes or More, that leads nowhere, and by which status if the
	// node there has said so. Nil is that nobody wants to know.
	Failed func(to route.Route, err error)
}

// has tells whether a lease has the name.
func (a Answer) has(l *Lease) bool {
	return a.Where == Here && (a.Lease == l || slices.Contains(a.Shared, l))
}

// of returns the lease that the process of another one has now: where the name is not shared, the
// one that has the name. It returns nil if there is none.
func (a Answer) of(l *Lease) *Lease {
	if len(a.Shared) == 0 {
		return a.Lease
	}
	for _, now := range a.Shared {
		if now.instance == l.instance {
			return now
		}
	}
	return nil
}

// Limits of the directory in memory.
const (
	DefaultNames            = 10_000 // in all
	DefaultNamesPerIdentity = 64
)

// MemoryConfig says how much a Memory takes on. The zero value is the default. A name that is
// shared counts once for each process that has it.
type MemoryConfig struct {
	Names            int // in all; 0 means DefaultNames
	NamesPerIdentity int // 0 means DefaultNamesPerIdentity
}

// Memory is the directory of one relay that knows no other.
type Memory struct {
	max, perIdentity int

	mu       sync.Mutex
	leases   map[string]*Lease
	shared   map[string][]*Lease         // of names that are; never changed, but replaced
	held     int                         // leases that have a name
	owners   map[identity.Identifier]int // how many of those are theirs
	watchers map[string][]*watcher
}

// watcher is somebody who is told, once, that a name has changed hands.
type watcher struct{ tell func() }

var _ Directory = (*Memory)(nil)

// NewMemory returns a directory without names.
func NewMemory(c MemoryConfig) *Memory {
	d := &Memory{
		max: c.Names, perIdentity: c.NamesPerIdentity,
		leases:   make(map[string]*Lease),
		shared:   make(map[string][]*Lease),
		owners:   make(map[identity.Identifier]int),
		watchers: make(map[string][]*watcher),
	}
	if d.max == 0 {
		d.max = DefaultNames
	}
	if d.perIdentity == 0 {
		d.perIdentity = DefaultNamesPerIdentity
	}
	return d
}

// Lookup implements Directory. It answers Here or Nobody, at once.
func (d *Memory) Lookup(_ context.Context, name string) (Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l, ok := d.leases[name]; ok {
		return Answer{Where: Here, Lease: l, Shared: d.shared[name]}, nil
	}
	return Answer{}, nil
}

// Claim implements Directory. It waits for a process that holds the name and does not answer.
func (d *Memory) Claim(ctx context.Context, l *Lease) (release func(), err error) {
	var silent []*Lease // have been asked
	for {
		holder, err := d.take(l, silent)
		switch {
		case err != nil:
			return nil, err
		case holder == nil:
			return func() { d.release(l) }, nil
		case holder.IsHeld(ctx):
			return nil, route.Refuse(wire.NameTaken,
				fmt.Sprintf("another process of this identity has the name %s", l.Name()))
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		silent = append(silent, holder)
	}
}

// take takes a name for l, unless another process of the same identity holds it, which is to be
// asked first: if that is not silent, it is returned.
func (d *Memory) take(l *Lease, silent []*Lease) (holder *Lease, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.allLocked(l.Name())
	if len(before) > 0 && before[0].Owner() != l.Owner() {
		return nil, route.Refuse(wire.NameTaken,
			fmt.Sprintf("the name %s belongs to another identity", l.Name()))
	}
	stay := slices.DeleteFunc(slices.Clone(before), func(other *Lease) bool {
		return other.Instance() == l.Instance() || !l.IsShared() || !other.IsShared()
	})
	for _, other := range before {
		if other.Instance() != l.Instance() && !slices.Contains(stay, other) &&
			!l.Replaces() && !slices.Contains(silent, other) {
			return other, nil
		}
	}
	more := len(stay) + 1 - len(before)
	switch {
	case len(stay) >= maxSharers:
		return nil, route.Refuse(wire.Busy, "no more processes may share this name")
	case more > 0 && d.held >= d.max:
		return nil, route.Refuse(wire.Busy, "no more names here")
	case more > 0 && d.owners[l.Owner()] >= d.perIdentity:
		return nil, route.Refuse(wire.Busy, "no more names for this identity")
	}
	d.setLocked(l.Name(), before, append(stay, l))
	return nil, nil
}

// allLocked returns all leases that have a name.
func (d *Memory) allLocked(name string) []*Lease {
	if all, ok := d.shared[name]; ok {
		return all
	}
	if l, ok := d.leases[name]; ok {
		return []*Lease{l}
	}
	return nil
}

// setLocked gives a name to other leases of the same owner than before.
func (d *Memory) setLocked(name string, before, now []*Lease) {
	owner := slices.Concat(before, now)[0].Owner()
	more := len(now) - len(before)
	d.held += more
	if d.owners[owner] += more; d.owners[owner] == 0 {
		delete(d.owners, owner)
	}
	delete(d.leases, name)
	delete(d.shared, name)
	if len(now) > 0 {
		d.leases[name] = now[0]
	}
	if len(now) > 0 && now[0].IsShared() {
		d.shared[name] = now
	}
	d.tellLocked(name)
}

// Revoke takes a name from the leases that have it, if they are owner's: they hear of it by Watch.
func (d *Memory) Revoke(name string, owner identity.Identifier) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if all := d.allLocked(name); len(all) > 0 && all[0].Owner() == owner {
		d.setLocked(name, all, nil)
	}
}

func (d *Memory) release(l *Lease) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.allLocked(l.Name())
	if !slices.Contains(before, l) {
		return
	}
	now := slices.DeleteFunc(slices.Clone(before), func(other *Lease) bool { return other == l })
	d.setLocked(l.Name(), before, now)
}

// Watch implements Directory.
func (d *Memory) Watch(name string, changed func()) (forget func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &watcher{changed}
	d.watchers[name] = append(d.watchers[name], w)
	return func() { d.forget(name, w) }
}

func (d *Memory) forget(name string, w *watcher) {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := slices.DeleteFunc(d.watchers[name], func(other *watcher) bool { return other == w })
	if d.watchers[name] = left; len(left) == 0 {
		delete(d.watchers, name)
	}
}

// tellLocked tells who watches a name.
func (d *Memory) tellLocked(name string) {
	for _, w := range d.watchers[name] {
		w.tell()
	}
	delete(d.watchers, name)
}

package set

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/sorting"
)

// Times of ownership, on which all nodes of a set agree.
const (
	// Lifetime is how long a name belongs to an identity after its last claim, or after it was
	// last held.
	Lifetime = 24 * time.Hour

	// Slack is how much younger a claim may seem to a node than it is: by the delay of what it
	// was told, and of what those were told who told it.
	Slack = time.Minute

	// Settled is how much earlier than another claim one was that the other one can never win
	// against, whoever hears of which of the two, when.
	Settled = 3 * Slack

	// Refresh is how often a node tells anew, at least, of each name.
	Refresh = time.Hour
)

// Default limits of Owners.
const (
	DefaultNames            = 100_000
	DefaultNamesPerIdentity = 1_000
)

// Errors of Claim.
var (
	ErrTaken     = errors.New("the name belongs to another identity")
	ErrFull      = errors.New("no more names here")
	ErrFullForMe = errors.New("no more names for this identity")
)

// OwnersConfig says whose table it is, and how much it takes on.
type OwnersConfig struct {
	// Self is the node that has the table. Judge returns the node that decides between claims of
	// a name which came too soon after each other to tell which was first: List.Judge of what
	// Self knows to be the list now. It is called by Learn, where there is a conflict. Without
	// Judge, Self decides.
	Self  NodeID
	Judge func(name string) NodeID

	Names            int // in all; 0 means DefaultNames
	NamesPerIdentity int // 0 means DefaultNamesPerIdentity
}

// Owners is whose a name is, as one node of a set knows it:
//
//	          Learn
//	  ┌──────────────────────┐
//	  │                      ▼     Lifetime
//	free                   owned ────────────► free
//	  │                    ▲   │
//	  │  Release, or lost: │   │ Claim, by the owner
//	  │  Learn of another  │   ▼
//	  └────────────────► held here
//	          Claim
//
// A name belongs to the identity that has claimed it first, until Lifetime after its last claim.
// Nodes tell each other Records, and the older claim wins. Each of the following follows from that,
// as long as nothing is told with more delay than Slack:
//
//   - To be told something late, twice or in another order makes a claim seem younger, never older.
//     So does a machine that was asleep, and does not know for how long. So the oldest that a node
//     has heard of a claim is what is closest to the truth, and is kept.
//   - A claim that was Settled before another one is the older one to everybody. So no partition,
//     and no healing of one, takes a name from who has had it before.
//   - Claims that were closer to each other may be seen in different orders by different nodes. One
//     node, the name's judge, takes the one that it sees as older, and the others take what the
//     judge tells, unless they know another one that is older by more than two Slacks: by so much
//     that the judge will see it like that when it is told. So all come to agree.
//   - A claim's age is told only until shortly before it ends, and the end of a claim is put off
//     only by its holder, or by more than Slack. So no claim lives on because nodes remind each
//     other of it.
//
// A node that lies about ages, or a judge that does, can have a name refused to its owner. It
// cannot have anybody reach a wrong outlet: both ends authenticate each other.
//
// Each method is given the time by the caller. Only differences count; a time before one that was
// given already is taken for that one. Owners is not safe for concurrent use.
type Owners struct {
	config OwnersConfig
	base   time.Time     // what times are kept relative to
	latest time.Duration // the latest time that was given

	names  map[string]*entry
	owners map[identity.Identifier]*owner
}

// owner is an identity that has names.
type owner struct {
	who   identity.Identifier
	names []*entry
}

// entry is a name that belongs to somebody, or did until it has expired.
type entry struct {
	name  string
	owner *owner
	first time.Duration // of the first claim, or later
	last  time.Duration // of the last claim; meaningless while it is held
	index int32         // in its owner's names
	held  bool          // here
}

// NewOwners returns an empty table.
func NewOwners(now time.Time, c OwnersConfig) *Owners {
	if c.Names == 0 {
		c.Names = DefaultNames
	}
	if c.NamesPerIdentity == 0 {
		c.NamesPerIdentity = DefaultNamesPerIdentity
	}
	if c.Judge == nil {
		c.Judge = func(string) NodeID { return c.Self }
	}
	return &Owners{
		config: c, base: now,
		names: make(map[string]*entry), owners: make(map[identity.Identifier]*owner),
	}
}

// at is how times are kept. They do not run backwards.
func (o *Owners) at(now time.Time) time.Duration {
	o.latest = max(o.latest, now.Sub(o.base))
	return o.latest
}

// Len returns how many names are in the table, those included that Expire would take out.
func (o *Owners) Len() int { return len(o.names) }

// Owner returns whose the name is, as far as this node knows.
func (o *Owners) Owner(now time.Time, name string) (who identity.Identifier, ok bool) {
	e := o.names[name]
	if e == nil || e.isOver(o.at(now)) {
		return who, false
	}
	return e.owner.who, true
}

// Claim has who hold the name here from now on, until Release or until Learn says that the name is
// lost. If it belongs to another identity, that is returned, with ErrTaken. An identity that has as
// many names as it may have gives up the one that it has not claimed for longest and does not hold
// here, or it is ErrFullForMe. ErrFull is told where the table is full. The name must be a valid
// one.
func (o *Owners) Claim(now time.Time, name string, who identity.Identifier) (identity.Identifier,
	error,
) {
	t := o.at(now)
	e := o.names[name]
	if e != nil && e.isOver(t) {
		o.remove(e)
		e = nil
	}
	switch {
	case e != nil && e.owner.who != who:
		return e.owner.who, ErrTaken
	case e == nil:
		if err := ValidateName(name); err != nil {
			return identity.Identifier{}, err
		}
		var err error
		if e, err = o.add(name, who, t, t); err != nil {
			return identity.Identifier{}, err
		}
	}
	e.last, e.held = t, true
	return who, nil
}

// Release says that who does not hold the name here any more. It stays the owner's for Lifetime.
// Nothing changes, and false is returned, if that is not so.
func (o *Owners) Release(now time.Time, name string, who identity.Identifier) bool {
	t := o.at(now)
	e := o.names[name]
	if e == nil || !e.held || e.owner.who != who {
		return false
	}
	e.last, e.held = t, false
	return true
}

// Learned is what has become of a record that was told.
type Learned struct {
	// Changed says that the name has another owner than before, or one that it had not: the name's
	// other homes are to be told.
	Changed bool

	// Lost says that Was held the name here, and does not own it any more: its lease has to end.
	Lost bool
	Was  identity.Identifier

	// Answer says that the teller is to be told what is known here, by Record: it will give way.
	Answer bool

	// Refused says that the record is not valid, or was news and the table has no room for it.
	Refused bool
}

// Learn takes in what another node of the set has told. The record must be a valid one.
func (o *Owners) Learn(now time.Time, from NodeID, r Record) Learned {
	return o.learn(now, r, func() (judges, judged bool) {
		judge := o.config.Judge(r.Name)
		return judge == o.config.Self, judge == from
	})
}

// LearnBetween takes in what a node of another set has told, whose judge of the name it is, as this
// node is its own set's. One of the two is the judge of both: judged says that it is the other one.
func (o *Owners) LearnBetween(now time.Time, judged bool, r Record) Learned {
	return o.learn(now, r, func() (bool, bool) { return !judged, judged })
}

// learn takes in what was told. judge tells whether this node is the name's judge, or has been told
// by it, or neither; it is asked where there is a conflict.
func (o *Owners) learn(now time.Time, r Record, judge func() (judges, judged bool)) Learned {
	t := o.at(now)
	if r.Validate() != nil {
		return Learned{Refused: true}
	}
	first, last := t-r.First, t-r.Last
	e := o.names[r.Name]
	if e != nil && e.isOver(t) {
		o.remove(e)
		e = nil
	}
	switch {
	case e == nil:
		_, err := o.add(r.Name, r.Who, first, last)
		return Learned{Changed: err == nil, Refused: err != nil}
	case e.owner.who == r.Who:
		return e.hear(t, first, last, r.Held)
	}
	judges, judged := judge()
	if !e.givesWay(first, r.Who, judges, judged) {
		stays := judges || e.first+2*Slack < first
		return Learned{Answer: stays && e.isTold(t)}
	}
	was := Learned{Changed: true, Lost: e.held, Was: e.owner.who}
	o.unlink(e)
	o.link(e, r.Who)
	e.first, e.last, e.held = first, last, false
	return was
}

// Names returns the names in the table, in no order.
func (o *Owners) Names() []string { return slices.Collect(maps.Keys(o.names)) }

// hear takes in what was told of the owner that the name has.
func (e *entry) hear(t, first, last time.Duration, held bool) Learned {
	answer := e.first+Slack < first && e.isTold(t)
	e.first = min(e.first, first)
	// What a holder says of itself is the latest there is. What anybody else says may be what was
	// heard here, told back.
	if held && last > e.last || last > e.last+Slack {
		e.last = last
	}
	return Learned{Answer: answer}
}

// givesWay tells whether the owner of e loses the name to who, whose first claim was at first. This
// node is the name's judge, or was told by it, or neither.
func (e *entry) givesWay(first time.Duration, who identity.Identifier, judges, judged bool) bool {
	switch {
	case judges:
		return first < e.first ||
			first == e.first && bytes.Compare(who[:], e.owner.who[:]) < 0
	case judged:
		return e.first+2*Slack >= first
	}
	return first+2*Slack < e.first
}

// isOver tells whether a name belongs to nobody any more.
func (e *entry) isOver(t time.Duration) bool { return !e.held && t-e.last >= Lifetime }

// isTold tells whether others are told of a name. Shortly before its end they are not, so that
// nobody hears of it afterwards.
func (e *entry) isTold(t time.Duration) bool { return e.held || t-e.last < Lifetime-2*Slack }

// Record returns what others are to be told of a name, if anything.
func (o *Owners) Record(now time.Time, name string) (r Record, ok bool) {
	t := o.at(now)
	e := o.names[name]
	if e == nil || !e.isTold(t) {
		return r, false
	}
	return e.record(t), true
}

// Records returns what others are to be told of the names that the filter takes, in the order of
// the names. A nil filter takes all. It looks at each name in the table.
func (o *Owners) Records(now time.Time, filter func(name string) bool) []Record {
	t := o.at(now)
	var told []Record
	for name, e := range o.names {
		if e.isTold(t) && (filter == nil || filter(name)) {
			told = append(told, e.record(t))
		}
	}
	sorting.Func(told, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	return told
}

func (e *entry) record(t time.Duration) Record {
	r := Record{Name: e.name, Who: e.owner.who, Held: e.held, First: min(t-e.first, maxFirst)}
	if !e.held {
		r.Last = t - e.last
	}
	return r
}

// Expire takes out the names that belong to nobody any more, and returns how many. Until then they
// count for the limits, and for nothing else. It looks at each name in the table.
func (o *Owners) Expire(now time.Time) int {
	t, before := o.at(now), len(o.names)
	for _, e := range o.names {
		if e.isOver(t) {
			o.remove(e)
		}
	}
	return before - len(o.names)
}

// add takes in a name that is not there, within the limits.
func (o *Owners) add(name string, who identity.Identifier, first, last time.Duration) (*entry,
	error,
) {
	own := o.owners[who]
	if own != nil && len(own.names) >= o.config.NamesPerIdentity {
		e := own.leastWanted()
		if e == nil || e.last >= last {
			return nil, ErrFullForMe
		}
		o.remove(e)
	}
	if len(o.names) >= o.config.Names {
		return nil, ErrFull
	}
	e := &entry{name: strings.Clone(name), first: first, last: last}
	o.names[e.name] = e
	o.link(e, who)
	return e, nil
}

// leastWanted returns the name that its owner has not claimed for longest and does not hold here,
// or nil.
func (own *owner) leastWanted() *entry {
	var least *entry
	for _, e := range own.names {
		if !e.held && (least == nil || e.last < least.last ||
			e.last == least.last && e.name < least.name) {
			least = e
		}
	}
	return least
}

func (o *Owners) remove(e *entry) {
	delete(o.names, e.name)
	o.unlink(e)
}

// link gives a name that is nobody's to who, whatever the limits.
func (o *Owners) link(e *entry, who identity.Identifier) {
	own := o.owners[who]
	if own == nil {
		own = &owner{who: who}
		o.owners[who] = own
	}
	e.owner, e.index = own, int32(len(own.names))
	own.names = append(own.names, e)
}

// unlink takes a name from its owner.
func (o *Owners) unlink(e *entry) {
	own := e.owner
	end := len(own.names) - 1
	moved := own.names[end]
	own.names[e.index], own.names[end] = moved, nil
	moved.index = e.index
	if own.names = own.names[:end]; end == 0 {
		delete(o.owners, own.who)
	}
}

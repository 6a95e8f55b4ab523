package sets

import (
	"bytes"
	"container/list"
	"slices"
	"strings"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/sorting"
	"github.com/secureportal/sp/wire"
)

// Limits of what is known.
const (
	DefaultKnown = 16_384 // names
	MaxHolders   = 4      // of a name, relays and processes together
)

// Times of what is known.
const (
	nobodyFor = time.Second     // for which it is not asked again where a name is that nobody holds
	shunFor   = 5 * time.Second // for which an address that has failed is tried after the others
	oughtFor  = 5 * time.Minute // for which a name that has been held is taken for one that will be
)

// Known is where names are held, as far as answers have said so:
//
//	          Learn, of its owner
//	unknown ──────────────────────► held ──┐ Learn: another holder, or a later claim of the same
//	  │  ▲                           │ ▲ ──┘
//	  │  └── lifetimes, all Failed ──┘ │
//	  │ Nobody                         │ Learn
//	  └─────────► nobody, a second ────┘
//
// Several may say that they hold a name. The one counts who has claimed it first, according to the
// relays; of two who have done so at the same time the one with the smaller Identifier. That is how
// sets decide as well, when they have heard of each other. Who is misled here is refused by the far
// end, as it is not who the other side asks for.
//
// Each method is given the time. Known is not safe for concurrent use.
type Known struct {
	max   int
	names map[string]*list.Element // of *known
	order list.List                // of *known, the one learned of longest ago first
}

// known is one name.
type known struct {
	name    string
	owner   identity.Identifier
	first   time.Time // of the owner's first claim
	holders []holder  // the later claim first
	nobody  time.Time // until when it is taken that nobody holds it
	ought   time.Time // until when it is odd that nobody does
}

// holder is who has said that the name is held.
type holder struct {
	claim Claim
	since time.Time // of the claim
	until time.Time
	shun  map[wire.Address]time.Time // until when others are tried before
}

// NewKnown returns what knows nothing, of so many names at most; 0 is DefaultKnown.
func NewKnown(names int) *Known {
	if names == 0 {
		names = DefaultKnown
	}
	return &Known{max: names, names: make(map[string]*list.Element)}
}

// Len returns how many names something is known of.
func (k *Known) Len() int { return len(k.names) }

// entry returns what is known of a name, made if there is nothing. What was learned of longest ago
// and is over is forgotten.
func (k *Known) entry(now time.Time, name string) *known {
	if e, ok := k.names[name]; ok {
		k.order.MoveToBack(e)
		return e.Value.(*known)
	}
	for e := k.order.Front(); e != nil; e = k.order.Front() {
		if len(k.names) < k.max && !e.Value.(*known).isOver(now) {
			break
		}
		delete(k.names, k.order.Remove(e).(*known).name)
	}
	n := &known{name: strings.Clone(name)}
	k.names[n.name] = k.order.PushBack(n)
	return n
}

func (k *Known) find(name string) *known {
	if e, ok := k.names[name]; ok {
		return e.Value.(*known)
	}
	return nil
}

// Learn takes in an answer to what was asked at a time. It reports whether that has said where the
// name's owner holds it.
func (k *Known) Learn(now, asked time.Time, name string, a Answer) bool {
	until := asked.Add(min(a.Claim.Lifetime, MaxLifetime))
	if !a.Held || !now.Before(until) {
		return false
	}
	n, who, first := k.entry(now, name), a.Claim.Owner.Identifier(), now.Add(-a.First)
	n.expire(now)
	switch {
	case len(n.holders) == 0 || n.owner == who && first.Before(n.first):
		n.owner, n.first = who, first
	case n.owner == who:
	case first.After(n.first), first.Equal(n.first) && bytes.Compare(who[:], n.owner[:]) > 0:
		return false
	default:
		n.owner, n.first, n.holders = who, first, nil
	}
	n.nobody, n.ought = time.Time{}, now.Add(oughtFor)
	h := holder{claim: a.Claim, since: asked.Add(-a.Claim.Held), until: until}
	h.claim.Owner = nil // who that is, is known, and how it became so is large
	n.holders = slices.DeleteFunc(n.holders, func(other holder) bool {
		return other.claim.Relay == h.claim.Relay && other.claim.Instance == h.claim.Instance
	})
	n.holders = append(n.holders, h)
	sorting.Stable(n.holders, func(a, b holder) int { return b.since.Compare(a.since) })
	n.holders = n.holders[:min(len(n.holders), MaxHolders)]
	return true
}

// isOver tells whether nothing is known of the name any more.
func (n *known) isOver(now time.Time) bool {
	n.expire(now)
	return len(n.holders) == 0 && !now.Before(n.nobody) && !now.Before(n.ought)
}

func (n *known) expire(now time.Time) {
	n.holders = slices.DeleteFunc(n.holders, func(h holder) bool { return !now.Before(h.until) })
}

// isShunned tells whether each address of a holder has failed just now.
func (h *holder) isShunned(now time.Time) bool {
	return !slices.ContainsFunc(h.claim.Addresses, func(a wire.Address) bool {
		return !now.Before(h.shun[a])
	})
}

// Shunned tells whether an address of who holds a name has failed just now: others come before it.
func (k *Known) Shunned(now time.Time, name string, at wire.Address) bool {
	n := k.find(name)
	return n != nil && slices.ContainsFunc(n.holders, func(h holder) bool {
		return now.Before(h.shun[at])
	})
}

// Holders returns the claims of who holds a name, those that have not failed first and of these the
// latest. They do not say whose the name is.
func (k *Known) Holders(now time.Time, name string) (all []Claim) {
	n := k.find(name)
	if n == nil {
		return nil
	}
	n.expire(now)
	for _, shunned := range []bool{false, true} {
		for _, h := range n.holders {
			if h.isShunned(now) == shunned {
				all = append(all, h.claim)
			}
		}
	}
	return all
}

// Failed says that a relay that was to hold a name could not be reached there, or has not got it.
// In the first case that address is tried after others for a moment; in the second one the relay is
// forgotten.
func (k *Known) Failed(now time.Time, name string, at wire.Address, gone bool) {
	n := k.find(name)
	if n == nil {
		return
	}
	for i := 0; i < len(n.holders); i++ {
		h := &n.holders[i]
		switch {
		case !slices.Contains(h.claim.Addresses, at):
		case gone:
			n.holders = slices.Delete(n.holders, i, i+1)
			i--
		default:
			if h.shun == nil {
				h.shun = make(map[wire.Address]time.Time)
			}
			h.shun[at] = now.Add(shunFor) // one of the claim's, which has few
		}
	}
}

// Nobody says that nobody holds the name.
func (k *Known) Nobody(now time.Time, name string) {
	n := k.entry(now, name)
	n.holders = nil
	n.nobody = now.Add(nobodyFor)
}

// IsNobody tells whether it has been found out just now that nobody holds a name.
func (k *Known) IsNobody(now time.Time, name string) bool {
	n := k.find(name)
	return n != nil && now.Before(n.nobody)
}

// Ought tells whether somebody has held the name not long ago: that nobody says so may be because
// the bus has not heard of it yet.
func (k *Known) Ought(now time.Time, name string) bool {
	n := k.find(name)
	return n != nil && now.Before(n.ought)
}

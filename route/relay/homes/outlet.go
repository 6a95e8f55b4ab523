package homes

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/set"
	"github.com/secureportal/sp/wire"
)

// When an outlet looks anew where its name is at home.
const (
	askAgain    = 5 * time.Minute // without having been told that there is another list
	homeLost    = 3 * time.Second // before the next home is claimed, while another one has the name
	maxClaims   = 8               // at once, those included that are given up
	extraClaims = 2               // beside those that cannot be had just now
	askFailed   = 5 * time.Second // after no answer, or while it is claimed nowhere
)

// Outlet keeps a name claimed where it is at home: on the relay that is named, or, if that is one
// of a set, on the two nodes of it that are the name's. Its fields are not changed once Run has
// been called.
type Outlet struct {
	Relay route.Route // to the relay's node, or one of the set's, without a service
	Name  string

	// Dial asks relays for the list of nodes, in the session of a claim, and Serve has the name. They
	// are those of all clients.
	Dial, Serve *route.Node

	// New returns what claims the name on a relay. All that it returns have the same Instance.
	// Registered, Failed and Nodes are the outlet's.
	New func(to route.Route) *relay.Client

	// Registered is called when the name has been claimed somewhere, and Failed when it could not
	// be claimed, or has been lost, and is claimed nowhere else. They are called by Run, one at a
	// time, and have to return. Nil calls nothing.
	Registered func()
	Failed     func(error)

	telling sync.Mutex // held while one of them is called

	mu     sync.Mutex
	claims map[string]*claim // by the text of the route
	list   *set.List         // all that the relays which have the name have said; nil: alone
	asked  time.Time         // when the relay that is named was asked last
	wake   chan struct{}     // gets something when there is something to do
}

// claim is a relay that has the name, or is to have it.
type claim struct {
	to     route.Route
	client *relay.Client

	// Guarded by the outlet's mu.
	up     bool
	failed time.Time // when it was lost, or could not be had; zero while it is up or being tried
	told   time.Time // from when on to ask for the list there, which is new; zero: it is known
	leaves bool
}

// Run keeps the name claimed until ctx ends or Serve shuts down, and returns when all that it has
// started has ended: see relay.Client.Run.
func (o *Outlet) Run(ctx context.Context) {
	o.claims, o.wake = make(map[string]*claim), make(chan struct{}, 1)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	again := time.NewTimer(askAgain)
	defer again.Stop()
	for !o.Serve.IsDraining() {
		o.ask(ctx)
		soon := time.NewTimer(o.settle(ctx, &tasks))
		select {
		case <-o.wake:
		case <-soon.C:
		case <-again.C:
			o.askAll()
			again.Reset(askAgain + rand.N(askAgain/4))
		case <-o.Serve.Draining():
		case <-ctx.Done():
			soon.Stop()
			return
		}
		soon.Stop()
	}
}

func (o *Outlet) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// ask asks those relays for the list that have said that it is new. Where none has the name, it is
// the one that is named: what nobody can be told of has to be asked for.
func (o *Outlet) ask(ctx context.Context) {
	now := time.Now()
	o.mu.Lock()
	var told []*claim
	lost := o.asked.IsZero() || o.list != nil && now.Sub(o.asked) >= askFailed
	for _, c := range o.claims {
		lost = lost && !c.up
		if c.up && !c.told.IsZero() && !c.told.After(now) {
			told = append(told, c)
			c.told = time.Time{}
		}
	}
	if lost {
		o.asked = now
	}
	o.mu.Unlock()
	if lost {
		o.askNamed(ctx)
	}
	for _, c := range told {
		list, err := o.askAt(ctx, c.to)
		if err != nil {
			o.mu.Lock()
			c.told = time.Now().Add(askFailed)
			o.mu.Unlock()
			continue
		}
		o.learn(c, list)
	}
}

func (o *Outlet) askAt(ctx context.Context, to route.Route) (*set.List, error) {
	inside := wire.Address{Kind: wire.Secure, Name: route.SecureName}
	list, err := Ask(ctx, o.Dial, append(to[:len(to):len(to)], inside))
	if err != nil {
		o.Dial.Logger().Debug("no list of nodes", "relay", route.Format(to), "error", err)
	}
	return list, err
}

// askNamed asks the relay that is named, before any other one is claimed: where the name is not at
// home it is not known whose it is.
func (o *Outlet) askNamed(ctx context.Context) {
	list, err := o.askAt(ctx, o.Relay)
	switch {
	case errors.Is(err, ErrAlone):
		o.mu.Lock()
		defer o.mu.Unlock()
		o.list = nil
	case err == nil && len(list.Nodes) > 0:
		o.learn(nil, list)
	}
}

// askAll has all relays asked that have the name.
func (o *Outlet) askAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.claims {
		if c.told.IsZero() && o.list != nil {
			c.told = time.Now()
		}
	}
}

// learn takes a list that has come from one of the relays. What another one has that has the name
// itself is not forgotten for that: two nodes may not see each other.
func (o *Outlet) learn(from *claim, list *set.List) {
	o.mu.Lock()
	defer o.mu.Unlock()
	next := list.Clone()
	if o.list != nil {
		for _, n := range o.list.Nodes {
			to, _ := o.at(n)
			if c := o.claimOfLocked(n.ID, to); c != nil && c != from && c.up {
				next.Put(n)
			}
		}
	}
	o.list = next
}

// at returns the route to a node.
func (o *Outlet) at(n set.Node) (route.Route, bool) {
	p, ok := placeOf(o.Relay)
	if !ok {
		return nil, false
	}
	return p.at(n)
}

// settle begins the claims that are wanted, and gives up those that are not any more. It returns
// when to look again.
func (o *Outlet) settle(ctx context.Context, tasks *sync.WaitGroup) (next time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	wanted, next := o.wantedLocked(now)
	next = min(next, o.askedNextLocked(now))
	kept, up := make(map[*claim]bool), 0
	for _, w := range wanted {
		if w.claim == nil && len(o.claims) < maxClaims {
			w.claim = o.beginLocked(ctx, tasks, w.to)
		}
		kept[w.claim] = true
		if c := w.claim; c != nil && c.up && !c.leaves {
			up++
		}
	}
	if up < min(claimsEach, len(wanted)) {
		return next
	}
	for _, c := range o.claims {
		if !c.leaves && !kept[c] {
			c.leaves = true
			c.client.Leave()
		}
	}
	return next
}

// askedNextLocked returns when the next relay is to be asked for its list.
func (o *Outlet) askedNextLocked(now time.Time) time.Duration {
	next := askAgain
	for _, c := range o.claims {
		if c.up && !c.told.IsZero() {
			next = min(next, max(c.told.Sub(now), 0))
		}
	}
	return next
}

// want is a relay at which the name is to be claimed, and the claim there, if it has been begun.
type want struct {
	to    route.Route
	claim *claim
}

// wantedLocked returns where the name is to be claimed, and when that may be elsewhere.
func (o *Outlet) wantedLocked(now time.Time) (wanted []want, next time.Duration) {
	next = askAgain
	entrance := want{o.Relay, o.claims[route.Format(o.Relay)]}
	if o.list == nil {
		return []want{entrance}, next
	}
	good, up := 0, 0
	for _, n := range o.list.Claims(o.Name, len(o.list.Nodes)) {
		to, ok := o.at(n)
		c := o.claimOfLocked(n.ID, to)
		if !ok && c == nil {
			continue
		}
		wanted = append(wanted, want{to, c})
		switch {
		case c == nil || c.failed.IsZero():
			good++
		case now.Sub(c.failed) < o.patienceLocked():
			good++ // for now
			next = min(next, o.patienceLocked()-now.Sub(c.failed))
		}
		if c != nil && c.up {
			up++
		}
		if good == claimsEach || len(wanted) == claimsEach+extraClaims {
			break
		}
	}
	switch {
	case len(wanted) == 0: // none of them says where it is
		wanted = append(wanted, entrance)
	case up == 0:
		next = min(next, askFailed)
	}
	return wanted, next
}

// claimOfLocked returns the claim at a node, by whatever address that is, or nil.
func (o *Outlet) claimOfLocked(id set.NodeID, to route.Route) *claim {
	for _, c := range o.claims {
		if whose, ok := c.client.At(); ok && c.up && set.NodeIDOf(whose) == id {
			return c
		}
	}
	return o.claims[route.Format(to)]
}

// patienceLocked is for how long a home that is lost is waited for before the next one is claimed.
func (o *Outlet) patienceLocked() time.Duration {
	for _, c := range o.claims {
		if c.up {
			return homeLost
		}
	}
	return 0
}

// beginLocked has a client claim the name on a relay.
func (o *Outlet) beginLocked(
	ctx context.Context, tasks *sync.WaitGroup, to route.Route,
) *claim {
	key := route.Format(to)
	c := &claim{to: to, client: o.New(to)}
	c.client.Registered = func() {
		o.mu.Lock()
		c.up, c.failed = true, time.Time{}
		o.mu.Unlock()
		o.tell(nil)
	}
	c.client.Failed = func(err error) {
		o.mu.Lock()
		c.up = false
		if isTaken(err) { // so it is on the name's other homes, and where it is not known
			c.failed = time.Time{}
		} else if c.failed.IsZero() {
			c.failed = time.Now()
		}
		o.mu.Unlock()
		o.tell(err)
	}
	c.client.Nodes = func() {
		o.mu.Lock()
		c.told = time.Now()
		o.mu.Unlock()
		o.poke()
	}
	o.claims[key] = c
	tasks.Go(func() {
		c.client.Run(ctx)
		o.mu.Lock()
		delete(o.claims, key)
		o.mu.Unlock()
		o.poke()
	})
	return c
}

// isTaken tells whether a relay has said that the name is somebody else's.
func isTaken(err error) bool {
	var refused *route.StatusError
	return errors.As(err, &refused) && !refused.Hearsay && refused.Code == wire.NameTaken
}

// tell says how things are, and has somebody look at what follows.
func (o *Outlet) tell(err error) {
	o.telling.Lock()
	defer o.telling.Unlock()
	o.mu.Lock()
	up := false
	for _, c := range o.claims {
		up = up || c.up
	}
	o.mu.Unlock()
	o.poke()
	switch {
	case up && o.Registered != nil:
		o.Registered()
	case !up && o.Failed != nil:
		o.Failed(err)
	}
}

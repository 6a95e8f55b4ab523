package homes

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
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
	claims map[*claim]struct{}
	list   *set.List     // of all that is known of the set; nil: the relay is none of one
	heard  memory        // of what lists have said
	asked  time.Time     // when the relay that is named was asked last
	wake   chan struct{} // gets something when there is something to do
}

// Run keeps the name claimed until ctx ends or Serve is not awaited any more, and returns when all
// that it has started has ended: see relay.Client.Run. While Serve drains, it is claimed where it
// has been, and nowhere else.
func (o *Outlet) Run(ctx context.Context) {
	o.claims, o.wake = make(map[*claim]struct{}), make(chan struct{}, 1)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	again := time.NewTimer(askAgain)
	defer again.Stop()
	for o.isWanted() {
		o.ask(ctx)
		soon := time.NewTimer(o.settle(ctx, &tasks))
		select {
		case <-o.wake:
		case <-soon.C:
		case <-again.C:
			o.askAll()
			again.Reset(askAgain + rand.N(askAgain/4))
		case <-o.Serve.Unawaited():
		case <-ctx.Done():
			soon.Stop()
			return
		}
		soon.Stop()
	}
}

// isWanted tells whether the name is to be claimed anywhere.
func (o *Outlet) isWanted() bool {
	if !o.Serve.IsDraining() {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Serve.IsAwaited() && len(o.claims) > 0
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
	for c := range o.claims {
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
	list, err := Ask(ctx, o.Dial, inside(to))
	if err != nil {
		o.Dial.Logger().Debug("no list of nodes", "relay", route.Format(to), "error", err)
	}
	return list, err
}

// askNamed asks the relay that is named, before any other one is claimed: where the name is not at
// home it is not known whose it is. If that does not answer, all are that have been heard of.
func (o *Outlet) askNamed(ctx context.Context) {
	done, ok := relay.AwaitTurn(ctx, o.Relay)
	if !ok {
		return
	}
	list, err := o.askAt(ctx, o.Relay)
	done()
	switch {
	case errors.Is(err, ErrAlone) && o.knowsNobody():
		o.mu.Lock()
		defer o.mu.Unlock()
		o.list = nil
	case err == nil && len(list.Nodes) > 0:
		o.learn(nil, list)
	case err != nil:
		if list := o.askHeard(ctx); len(list.Nodes) > 0 {
			o.learn(nil, list)
		}
	}
}

// knowsNobody tells whether no node has been heard of for long.
func (o *Outlet) knowsNobody() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard.forget(time.Now())
	return o.heard.isEmpty()
}

// askHeard makes one list of those of a few nodes that have been heard of.
func (o *Outlet) askHeard(ctx context.Context) *set.List {
	o.mu.Lock()
	nodes := some(o.heard.others(o.Name, func(set.NodeID) bool { return false }))
	o.mu.Unlock()
	to := func(n set.Node) (route.Route, bool) {
		r, ok := o.at(n)
		return inside(r), ok
	}
	next := &set.List{}
	for _, list := range askEach(ctx, o.Dial, nodes, to) {
		for _, n := range list.Nodes {
			next.Put(n)
		}
	}
	return next
}

// inside is the route to what a relay's node answers itself.
func inside(to route.Route) route.Route {
	return append(to[:len(to):len(to)], wire.Address{Kind: wire.Secure, Name: route.SecureName})
}

// askAll has all relays asked that have the name.
func (o *Outlet) askAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.claims {
		if c.told.IsZero() && o.list != nil {
			c.told = time.Now()
		}
	}
}

// learn takes a list that has come from a relay that has the name, or from the one that is named.
func (o *Outlet) learn(from *claim, list *set.List) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard.note(list, time.Now())
	if from == nil {
		o.list = list
		return
	}
	from.list = list
	o.mergeLocked()
}

// mergeLocked makes one list of those of all relays that have the name, whoever has been asked
// last: two nodes may not see each other, or not yet. One at which the name is given up is about to
// be left out by the others, and counts only where there is no other one.
func (o *Outlet) mergeLocked() {
	stays := func(c *claim) bool { return c.up && c.list != nil && !c.leaves }
	for _, counts := range []func(*claim) bool{stays, func(c *claim) bool {
		return c.up && c.list != nil
	}} {
		var next *set.List
		for c := range o.claims {
			switch {
			case !counts(c):
			case next == nil:
				next = c.list.Clone()
			default:
				for _, n := range c.list.Nodes {
					next.Put(n)
				}
			}
		}
		if next != nil {
			o.list = next
			return
		}
	}
}

// at returns the route to a node.
func (o *Outlet) at(n set.Node) (route.Route, bool) {
	p, ok := placeOf(o.Relay)
	if !ok {
		return nil, false
	}
	return p.at(n)
}

// settle begins the claims that are wanted, and gives up those that are not any more: once there
// are enough, or if they are being tried while another one has the name. It returns when to look
// again.
func (o *Outlet) settle(ctx context.Context, tasks *sync.WaitGroup) (next time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	wanted, next := o.wantedLocked(now)
	next = min(next, o.askedNextLocked(now))
	kept, up := make(map[*claim]bool), 0
	for _, w := range wanted {
		if w.claim == nil && !o.Serve.IsDraining() && o.hasPlaceLocked() {
			w.claim = o.beginLocked(ctx, tasks, w.to)
		}
		kept[w.claim] = true
		if c := w.claim; c != nil && c.up && !c.leaves {
			up++
		}
	}
	enough := up >= min(claimsEach, len(wanted))
	for c := range o.claims {
		if !c.leaves && !kept[c] && (enough || up > 0 && !c.up) {
			c.leaves, c.left = true, now
			c.client.Leave()
		}
	}
	return next
}

// hasPlaceLocked tells whether there may be another claim. If not, the one that has been given up
// first ends, whatever still comes by it.
func (o *Outlet) hasPlaceLocked() bool {
	if len(o.claims) < maxClaims {
		return true
	}
	var first *claim
	for c := range o.claims {
		if c.leaves && (first == nil || c.left.Before(first.left)) {
			first = c
		}
	}
	if first != nil {
		first.end()
	}
	return false
}

// askedNextLocked returns when the next relay is to be asked for its list.
func (o *Outlet) askedNextLocked(now time.Time) time.Duration {
	next := askAgain
	for c := range o.claims {
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

// wantedLocked returns where the name is to be claimed, and when that may be elsewhere. Once none
// of the nodes can be had, that is also at the relay that is named: there may be a way to that one
// only. Not before, for it may be one of them, and two claims of one process take the name from
// each other.
func (o *Outlet) wantedLocked(now time.Time) (wanted []want, next time.Duration) {
	next = askAgain
	if o.list == nil {
		return []want{{o.Relay, o.keptByLocked(o.Relay)}}, next
	}
	good, up, most := 0, 0, claimsEach+extraClaims
	if o.patienceLocked() == 0 { // it is claimed nowhere
		most = maxClaims - 1
	}
	isNamed := false
	for _, n := range o.list.Claims(o.Name, len(o.list.Nodes)) {
		to, ok := o.at(n)
		c := o.keptAtLocked(n.ID, to)
		if !ok && c == nil {
			continue
		}
		wanted = append(wanted, want{to, c})
		isNamed = isNamed || slices.Equal(to, o.Relay) || c != nil && slices.Equal(c.to, o.Relay)
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
		if good == claimsEach || len(wanted) == most {
			break
		}
	}
	if !isNamed && good == 0 {
		c := o.keptByLocked(o.Relay)
		wanted = append(wanted, want{o.Relay, c})
		if c != nil && c.up {
			up++
		}
	}
	if up == 0 {
		next = min(next, askFailed)
	}
	return wanted, next
}

// keptAtLocked returns the claim at a node, by whatever address that is, or nil. It is not given up
// any more.
func (o *Outlet) keptAtLocked(id set.NodeID, to route.Route) *claim {
	for c := range o.claims {
		if whose, ok := c.client.At(); ok && c.up && set.NodeIDOf(whose) == id && c.isKept() {
			return c
		}
	}
	return o.keptByLocked(to)
}

// keptByLocked returns the claim by a route, or nil. It is not given up any more.
func (o *Outlet) keptByLocked(to route.Route) *claim {
	for c := range o.claims {
		if slices.Equal(c.to, to) && c.isKept() {
			return c
		}
	}
	return nil
}

// patienceLocked is for how long a home that is lost is waited for before the next one is claimed.
func (o *Outlet) patienceLocked() time.Duration {
	for c := range o.claims {
		if c.up {
			return homeLost
		}
	}
	return 0
}

// tell says how things are, and has somebody look at what follows.
func (o *Outlet) tell(err error) {
	o.telling.Lock()
	defer o.telling.Unlock()
	o.mu.Lock()
	up := false
	for c := range o.claims {
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

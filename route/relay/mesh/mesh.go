// Package mesh makes relays one: the nodes of a set, any of which leads to every name that is
// claimed on one of them.
//
// Each node keeps a session with each other one, as an outlet does with a relay: no port, key or
// protocol of its own. Whether that session lives is the membership. Nothing is elected, and
// nothing is stored by more than those who need it: where a name is at home follows from the list
// of nodes (package set).
//
// A node sees what a relay sees, and is trusted with no more. It never passes on what another node
// has passed on, and never tells of a node that it has no session with.
package mesh

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/logthrottle"
	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/set"
)

// Times of a node.
const (
	lingers     = 30 * time.Second // for a node whose session is lost to stay in the list
	drainHead   = time.Second      // for outlets to claim elsewhere, before anybody is sent away
	sayTimeout  = 10 * time.Second // for another node to take what it is told
	joinTimeout = 10 * time.Second // for a session with another node
)

// knownTimes is of how many times as many names as it has a node knows whose they are: a name is
// held by two, and known to three, and not all have as many.
const knownTimes = 4

// tried is how many nodes are asked for a name that is not here.
const tried = 3

var nodesNow = metrics.NewGauge("set_nodes", "relays of the set that this one knows, with itself")

// Config is what a node of a set is made of.
type Config struct {
	// Node is the relay's. The mesh offers its services there.
	Node *route.Node
	// Dial makes the sessions with other nodes. Whom the trust of both nodes takes for a
	// trust.Member is one; Dial's takes its own identity for one as well, so that a node finds out
	// where it answers itself.
	Dial *route.Node
	// Self is who the node is.
	Self identity.Identifier

	// Seeds are where nodes are, this one among them or not, as transport.LookUp finds them.
	Seeds []route.Address
	// Addresses are where this node is for others, 1 to set.MaxAddresses. Nil is where it answers
	// itself, of Seeds.
	Addresses []route.Address
	// Weight is how many nodes it counts as, 1 to set.MaxWeight. 0 means 1.
	Weight uint8

	// Names says how many names the node takes on.
	Names relay.MemoryConfig

	// Owned is called when something has changed of whose a name is, and may be for nothing. It must
	// neither wait nor use the mesh. Nil calls nothing.
	Owned func(name string)

	// Tell is called, for one call after another, when the list has changed. Nil calls nothing.
	Tell func(ctx context.Context)
}

// Mesh is a node's part in its set, and the directory of its relay. It is safe for concurrent use.
type Mesh struct {
	*relay.Memory // what is claimed here

	config Config
	id     set.NodeID
	logger *slog.Logger

	mu      sync.Mutex
	self    set.Node
	peers   map[set.NodeID]*peer
	list    *set.List     // never changed, but replaced
	changed chan struct{} // closed when there is another list, or another target
	learned map[route.Address]bool
	lonely  bool // it has been said that others do not know where this node is

	unreached map[route.Address]unreached // of the addresses that are dialed

	begun time.Time // when Run was called, or zero; guarded by mu

	refused logthrottle.Throttle

	owning sync.Mutex  // guards owners; mu may be taken while it is held, and not the other way
	owners *set.Owners // whose names are, those at home here and those claimed here
}

// peer is another node.
type peer struct {
	node  set.Node
	links map[*link]struct{} // that live
	lost  time.Time          // when the last of them ended
	told  bool               // whose names are, once
}

var _ relay.Directory = (*Mesh)(nil)

// New makes a node one of a set. Run has it meet the others.
func New(c Config) *Mesh {
	m := &Mesh{
		Memory: relay.NewMemory(c.Names), config: c, id: set.NodeIDOf(c.Self),
		logger: c.Node.Logger(), peers: make(map[set.NodeID]*peer),
		changed: make(chan struct{}), list: &set.List{Version: 1}, learned: make(map[route.Address]bool),
		unreached: make(map[route.Address]unreached),
	}
	m.self = set.Node{
		ID: m.id, Epoch: uint64(time.Now().UnixMilli()), State: set.Up,
		Weight: max(c.Weight, 1), Addresses: c.Addresses,
	}
	m.rebuildLocked()
	m.owners = set.NewOwners(time.Now(), set.OwnersConfig{
		Self: m.id, Judge: func(name string) set.NodeID { return m.List().Judge(name) },
		Names:            knownTimes * cmp.Or(c.Names.Names, relay.DefaultNames),
		NamesPerIdentity: knownTimes * cmp.Or(c.Names.NamesPerIdentity, relay.DefaultNamesPerIdentity),
	})
	c.Node.Offer(route.MemberName, route.Service{Handler: m.serveMember, Waits: true})
	return m
}

// ID returns the id of this node.
func (m *Mesh) ID() set.NodeID { return m.id }

// Addresses returns where this node is for others, as far as it knows. Nobody may change them.
func (m *Mesh) Addresses() []route.Address {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self.Addresses
}

// List returns the nodes that this one knows. Nobody may change it.
func (m *Mesh) List() *set.List {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list
}

// Changed returns a channel that is closed when List returns another one.
func (m *Mesh) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Lookup implements relay.Directory. What is not here is passed on to where it is at home.
func (m *Mesh) Lookup(ctx context.Context, name string) (relay.Answer, error) {
	a, err := m.Memory.Lookup(ctx, name)
	if err != nil || a.Where == relay.Here {
		return a, err
	}
	var routes []route.Route
	for _, n := range m.List().Homes(name) {
		if n.ID != m.id && len(routes) < tried {
			routes = append(routes, route.Route{m.addressOf(n)})
		}
	}
	if len(routes) == 0 {
		return relay.Answer{}, nil
	}
	return relay.Answer{Where: relay.PassOn, Routes: routes}, nil
}

// addressOf returns where a node is: where this one has reached it, or else where that says.
func (m *Mesh) addressOf(n set.Node) route.Address {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[n.ID]; p != nil {
		for l := range p.links {
			if l.at != (route.Address{}) {
				return l.at
			}
		}
	}
	return n.Addresses[0]
}

// HasAt tells whether another node of the set is at a, as that says or as this one has reached it.
func (m *Mesh) HasAt(a route.Address) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		if slices.Contains(p.node.Addresses, a) {
			return true
		}
		for l := range p.links {
			if l.at == a {
				return true
			}
		}
	}
	return false
}

// Drain tells the other nodes and all outlets that this one goes away, and gives these time to
// claim their names elsewhere, no longer than ctx.
func (m *Mesh) Drain(ctx context.Context) {
	m.mu.Lock()
	m.self.State = set.Draining
	m.self.Epoch++
	m.rebuildLocked()
	m.mu.Unlock()
	timer := time.NewTimer(drainHead)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// rebuildLocked makes the list anew, and tells if it is another one.
func (m *Mesh) rebuildLocked() {
	next := &set.List{Version: m.list.Version + 1}
	if len(m.self.Addresses) > 0 {
		next.Put(m.self)
	}
	for _, p := range m.peers {
		if len(p.links) > 0 || time.Since(p.lost) < lingers {
			next.Put(p.node)
		}
	}
	same := func(a, b set.Node) bool { return a.Equal(&b) }
	if slices.EqualFunc(next.Nodes, m.list.Nodes, same) {
		return
	}
	m.list = next
	nodesNow.Set(int64(len(next.Nodes)))
	m.tellLocked()
}

func (m *Mesh) tellLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Run meets the other nodes, and keeps sessions with them, until ctx ends, and returns when all
// that it has started has ended.
func (m *Mesh) Run(ctx context.Context) {
	m.mu.Lock()
	m.begun = time.Now()
	m.mu.Unlock()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() { m.keepTelling(ctx) })
	tasks.Go(func() { m.keepDialing(ctx) })
	tasks.Go(func() { m.keepExpiring(ctx) })
	<-ctx.Done()
}

// keepTelling has those told of each list who have asked for that.
func (m *Mesh) keepTelling(ctx context.Context) {
	told := m.List()
	for {
		changed := m.Changed()
		if now := m.List(); now != told {
			told = now
			m.logger.Info("the set has changed", "nodes", len(now.Nodes))
			if m.config.Tell != nil {
				m.config.Tell(ctx)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

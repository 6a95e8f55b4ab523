package daemon

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/secureportal/sp/cli/config"
)

// part is something of a portal that begins and ends on its own: a listener, a service, a claim
// on a relay, an inlet. Portals that are equal in a part share it.
//
//	start ── stopListening or withdraw ── end
type part interface {
	// start returns when the part works, or is known not to. ctx bounds that, and not the part's
	// life. Nothing is left of a part that could not be started.
	start(ctx context.Context) error
	// stopListening closes the part's listener, if it has one. What is open goes on, but for
	// datagrams, which nobody waits for.
	stopListening()
	// withdraw has nothing new come in by the part, and nobody find it. What is open goes on.
	withdraw()
	// end waits until what is open has ended, cuts it when ctx ends, and frees all. It may be
	// called again.
	end(ctx context.Context)
	// state is what it does now.
	state() partState
}

// partState is what a part does at one moment.
type partState struct {
	entrance    bool   // the portal can be reached by it
	name        string // of those of a portal that it is for alone; empty: for all
	up          bool
	address     string // where it listens; empty if it does not
	alsoAt      []string
	connections int
	err         error // why it is not up
}

// planned is a part as a configuration has it.
type planned struct {
	key  string // equal for parts that are
	make func() part
}

// keyOf is a part's or a portal's key: all that it is made of. An empty list is as good as none.
func keyOf(what string, of any) string {
	return what + " " + strings.ReplaceAll(fmt.Sprintf("%#v", of), "[]string{}", "[]string(nil)")
}

// running is one portal of a configuration, and the parts that it is made of.
type running struct {
	site *site
	kind Kind
	name string
	key  string
	plan []planned

	announced bool // guarded by the daemon's notifying

	mu    sync.Mutex // guards what follows
	parts []part     // in the order of plan, once all have been started
	err   error      // why not
}

func (p *running) setParts(parts []part, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parts, p.err = parts, err
}

func (p *running) snapshot() ([]part, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.parts, p.err
}

// begun tells whether all parts have been started.
func (p *running) begun() bool {
	parts, err := p.snapshot()
	return parts != nil && err == nil
}

func (p *running) isUp() bool { return p.status().Ready }

// status puts together what the parts say. A portal is ready when it can be reached: by any of
// its entrances, for each of its names, or by those of others if it has none.
func (p *running) status() PortalStatus {
	parts, err := p.snapshot()
	s := PortalStatus{Config: p.site.name, Kind: p.kind, Name: p.name, Err: err}
	open := make(map[string]bool) // which names can be reached
	for _, part := range parts {
		now := part.state()
		s.Connections += now.connections
		s.take(now)
		if now.entrance {
			open[now.name] = open[now.name] || now.up
		}
		if s.Err == nil {
			s.Err = now.err
		}
	}
	s.Ready = err == nil && len(parts) > 0 && canBeReached(open)
	return s
}

// canBeReached tells whether a portal can be by each of its names. What is for the empty name is
// for all of them.
func canBeReached(open map[string]bool) bool {
	forAll, some := open[""]
	if forAll || len(open) == 0 {
		return true
	}
	for name, isOpen := range open {
		if name != "" && !isOpen {
			return false
		}
	}
	return !some || len(open) > 1
}

// plan is what a configuration asks for: its portals, in the order in which they are started.
func (s *site) plan(c config.Config) []*running {
	var all []*running
	add := func(kind Kind, name string, of any, at config.Entrance, parts ...planned) {
		if s.acme != nil && at.OverTLS() {
			parts = append(parts, s.planACME())
		}
		all = append(all, &running{
			site: s, kind: kind, name: name, key: keyOf(string(kind), of), plan: parts,
		})
	}
	for _, o := range c.Outlets {
		parts := []planned{s.planService(o)}
		if len(o.Listens()) > 0 {
			for _, e := range o.Entrances() {
				parts = append(parts, s.planName(e))
			}
		}
		parts = append(parts, s.planEntrance(s.main, o.Entrances()...)...)
		add(OutletKind, o.ServiceName(), o, o.Entrance, parts...)
	}
	for _, r := range c.Relays {
		add(RelayKind, r.Listen, r, r.Entrance, s.planRelay(r))
	}
	for _, b := range c.Bridges {
		add(BridgeKind, b.Listen, b, b.Entrance, s.planBridge(b))
	}
	for _, i := range c.Inlets {
		add(InletKind, i.Listen, i, config.Entrance{}, s.planInlet(i))
	}
	return all
}

// planEntrance is the parts by which links come in to a node, of which entrances that differ by
// their names alone share the listeners.
func (s *site) planEntrance(m *member, entrances ...config.Entrance) []planned {
	var all []planned
	for _, at := range entrances[0].Listens() {
		all = append(all, s.planListener(m, at))
	}
	for _, e := range entrances {
		for _, relay := range e.Relays {
			all = append(all, s.planRegistration(m, relay, e))
		}
	}
	return all
}

// begin starts the parts of p that do not run yet.
func (s *site) begin(ctx context.Context, p *running) error {
	if p.begun() {
		return nil
	}
	var parts []part
	for _, want := range p.plan {
		one, err := s.beginPart(ctx, want)
		if err != nil {
			p.setParts(nil, err)
			return err
		}
		parts = append(parts, one)
	}
	p.setParts(parts, nil)
	return nil
}

func (s *site) beginPart(ctx context.Context, want planned) (part, error) {
	if known := s.part(want.key); known != nil {
		return known, nil
	}
	fresh := want.make()
	if err := fresh.start(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts[want.key] = fresh
	return fresh, nil
}

func (s *site) part(key string) part {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts[key]
}

// isPlanned tells whether portals have a part whose key begins so.
func isPlanned(portals []*running, key string) bool {
	for _, p := range portals {
		for _, part := range p.plan {
			if strings.HasPrefix(part.key, key) {
				return true
			}
		}
	}
	return false
}

// withoutPlanned takes out the parts that no portal needs any more, and returns them.
func (s *site) withoutPlanned(portals []*running) []part {
	wanted := make(map[string]bool)
	for _, p := range portals {
		for _, part := range p.plan {
			wanted[part.key] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var gone []part
	for key, part := range s.parts {
		if !wanted[key] {
			gone = append(gone, part)
			delete(s.parts, key)
		}
	}
	return gone
}

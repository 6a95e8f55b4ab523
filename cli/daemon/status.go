package daemon

import "github.com/secureportal/sp/identity"

// Status is what a daemon does at one moment.
type Status struct {
	Identifier identity.Identifier
	Portals    []PortalStatus // in the order of the configuration, each kind on its own
}

// Kind is the kind of a portal.
type Kind string

// The kinds of portal.
const (
	InletKind  Kind = "inlet"
	OutletKind Kind = "outlet"
	RelayKind  Kind = "relay"
	BridgeKind Kind = "bridge"
)

// PortalStatus is what one portal does at one moment.
type PortalStatus struct {
	// Config is the name of its configuration, where there are several.
	Config string
	Kind   Kind
	// Name tells the portal from others of its kind: an outlet's service, and where the
	// configuration has the others listen.
	Name string
	// Address is where it listens, as host:port with the port it has got, or unix:PATH. Empty
	// if it does not.
	Address string
	// AlsoAt is where else it listens, if it does.
	AlsoAt []string
	// Ready is whether it can be used now: see the kind of event of that name.
	Ready bool
	// Connections is how many are open. An outlet's are those to its service.
	Connections int
	// Err is why it is not ready, or has lost one of its relays. Nil if nothing is wrong.
	Err error
}

// Everywhere returns all addresses at which the portal listens.
func (s PortalStatus) Everywhere() []string {
	if s.Address == "" {
		return s.AlsoAt
	}
	return append([]string{s.Address}, s.AlsoAt...)
}

// take adds where a part listens.
func (s *PortalStatus) take(p partState) {
	switch {
	case p.address == "":
		return
	case s.Address == "":
		s.Address = p.address
	default:
		s.AlsoAt = append(s.AlsoAt, p.address)
	}
	s.AlsoAt = append(s.AlsoAt, p.alsoAt...)
}

// Status tells what the daemon does.
func (d *Daemon) Status() Status {
	var all Status
	for i, u := range d.allUnits() {
		if i == 0 {
			all.Identifier = u.site.self.Identifier()
		}
		for _, p := range u.portals {
			all.Portals = append(all.Portals, p.status())
		}
	}
	return all
}

// announce tells of portals that have become ready, and systemd when all have.
func (d *Daemon) announce() {
	d.notifying.Lock()
	defer d.notifying.Unlock()
	d.mu.Lock()
	started := d.started
	var portals []*running
	for _, u := range d.units {
		portals = append(portals, u.portals...)
	}
	d.mu.Unlock()
	if !started {
		return
	}
	all, fresh := true, false
	for i, p := range portals {
		if !p.announced && p.begun() && p.isUp() {
			p.announced, fresh = true, true
			d.tell(Event{
				Kind: Ready, Config: p.site.name, Identifier: p.site.self.Identifier(),
				Portal: p.status(), Number: i,
			})
		}
		all = all && p.announced
	}
	if all && fresh || d.options.ReadyAtOnce && !d.told {
		d.told = true
		d.notifyReady()
	}
}

// notify tells of an event.
func (d *Daemon) notify(e Event) {
	d.notifying.Lock()
	defer d.notifying.Unlock()
	d.tell(e)
}

func (d *Daemon) tell(e Event) {
	if d.options.Notify != nil {
		d.options.Notify(e)
	}
}

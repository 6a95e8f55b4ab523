package daemon

import (
	"cmp"
	"context"
	"net"
	"os"
	"strings"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/netio"
	"github.com/secureportal/sp/internal/sorting"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/mesh"
	"github.com/secureportal/sp/route/transport"
)

// What a process tells the others of its user about itself. Programs read it: fields may be added,
// and those that are there stay. Times are in seconds, and how long ago, never what a clock shows.

// Report is all that there is to tell.
type Report struct {
	PID         int                 `json:"pid"`
	Version     string              `json:"version"`
	Identifier  identity.Identifier `json:"identifier"`
	Age         float64             `json:"age"`
	Stopping    bool                `json:"stopping"`          // it waits for what is open
	Trouble     []string            `json:"trouble,omitempty"` // with all of it, in words
	Portals     []PortalReport      `json:"portals"`
	Peers       []PeerReport        `json:"peers"`
	Names       []NameReport        `json:"names,omitempty"`       // that outlets hold, on a relay
	Nodes       []NodeReport        `json:"nodes,omitempty"`       // of a relay's set
	Directories []DirectoryReport   `json:"directories,omitempty"` // of relays
	Connections []ConnectionReport  `json:"connections"`
}

// PortalReport is one portal.
type PortalReport struct {
	Config      string       `json:"config,omitempty"` // of which one it is, if there are several
	Kind        Kind         `json:"kind"`
	Name        string       `json:"name"`
	Address     string       `json:"address,omitempty"` // where it listens
	To          string       `json:"to,omitempty"`      // an outlet's service
	Ready       bool         `json:"ready"`
	Error       string       `json:"error,omitempty"`
	Connections int          `json:"connections"`
	Paths       []PathReport `json:"paths,omitempty"`  // an inlet's, the best first
	Claims      []Claim      `json:"claims,omitempty"` // of its name, on relays
}

// PathReport is one way of an inlet's to its outlet.
type PathReport struct {
	Route     string   `json:"route"`
	Hops      []string `json:"hops"` // by what address or name each node on it is reached
	Up        bool     `json:"up"`
	Taken     bool     `json:"taken"`                // new connections go by it
	Since     float64  `json:"since"`                // it went up; or, if it is down, it was up last
	RoundTrip float64  `json:"round_trip,omitempty"` // to the outlet and back; 0 is not known
	Error     string   `json:"error,omitempty"`
	Direct    string   `json:"direct,omitempty"`     // where connections go without the relay on it
	NotDirect string   `json:"not_direct,omitempty"` // why they do not, if that has been tried
}

// Claim is a name that a portal holds, or is to hold, on a relay.
type Claim struct {
	Name  string `json:"name"`
	Relay string `json:"relay"`
	Held  bool   `json:"held"`
	Error string `json:"error,omitempty"`
	At    []Home `json:"at,omitempty"` // of a set
}

// Broken are the relays where a name is not held that is held at another one.
func (c Claim) Broken() (all []Home) {
	for _, at := range c.At {
		if c.Held && !at.Held && at.Error != "" {
			all = append(all, at)
		}
	}
	return all
}

// Home is a relay of a set where a name is claimed.
type Home struct {
	Relay string  `json:"relay"`
	Held  bool    `json:"held"`
	Lost  float64 `json:"lost,omitempty"` // for how long it has not been held
	Error string  `json:"error,omitempty"`
}

// PeerReport is somebody with whom there is a session.
type PeerReport struct {
	Identifier identity.Identifier `json:"identifier"`
	Name       string              `json:"name,omitempty"`   // that one has asked the other for
	Path       string              `json:"path,omitempty"`   // by which this side has come there
	Source     string              `json:"source,omitempty"` // or where the other one comes from
	Trusted    string              `json:"trusted"`          // by what
	Age        float64             `json:"age"`
	RoundTrip  float64             `json:"round_trip,omitempty"`
}

// NameReport is a name that an outlet holds on this relay.
type NameReport struct {
	Portal  string              `json:"portal"`
	Name    string              `json:"name"`
	Owner   identity.Identifier `json:"owner"`
	Source  string              `json:"source"`
	Age     float64             `json:"age"`
	Standby int                 `json:"standby"` // links that wait to be used
	InUse   int                 `json:"in_use"`  // and those that are
}

// NodeReport is a relay of the set.
type NodeReport struct {
	Portal    string   `json:"portal"` // that is one of the set
	ID        string   `json:"id"`     // the beginning of its Identifier; empty if that is not known
	Self      bool     `json:"self,omitempty"`
	State     string   `json:"state"`          // up, draining, or away
	Away      float64  `json:"away,omitempty"` // for how long there has been no link with it
	Error     string   `json:"error,omitempty"`
	Weight    int      `json:"weight"`
	Addresses []string `json:"addresses"`
}

// ConnectionReport is one connection that is open, or a pair of links that is joined.
type ConnectionReport struct {
	ID         uint64               `json:"id"` // different for each connection of the process
	Portal     string               `json:"portal"`
	Client     string               `json:"client,omitempty"` // an inlet's application
	Identifier *identity.Identifier `json:"identifier,omitempty"`
	Name       string               `json:"name,omitempty"`
	Path       string               `json:"path,omitempty"`
	Source     string               `json:"source,omitempty"`
	To         string               `json:"to"`
	ToService  uint64               `json:"to_service"` // bytes
	ToClient   uint64               `json:"to_client"`
	Age        float64              `json:"age"`
	Suspended  bool                 `json:"suspended"`        // it waits for another link
	Opening    bool                 `json:"opening"`          // there is no stream yet
	Direct     bool                 `json:"direct,omitempty"` // past the relay between its ends
}

// pingTime is how long a far end is waited for that is asked how far away it is.
const pingTime = 500 * time.Millisecond

// maxPings is how many are asked.
const maxPings = 16

// Report tells what the process does. Far ends that inlets lead to are asked how far away they are,
// for half a second at most.
func (d *Daemon) Report(ctx context.Context) Report {
	pingPaths(ctx, d.allPortals())
	return d.Glance()
}

// Glance is Report, but far ends are as far away as they were when they were asked last: it waits
// for nobody.
func (d *Daemon) Glance() Report {
	r := Report{
		PID: os.Getpid(), Version: d.options.Version, Age: time.Since(d.began).Seconds(),
		Stopping: d.busy.Err() != nil, Portals: []PortalReport{}, Peers: []PeerReport{},
		Connections: []ConnectionReport{}, Trouble: d.trouble(),
	}
	for _, p := range d.allPortals() {
		r.Portals = append(r.Portals, p.report())
	}
	for _, s := range d.allSites() {
		r.Identifier = s.self.Identifier()
		r.Connections = append(r.Connections, s.open.report()...)
		for _, m := range s.allMembers() {
			m.report(&r)
		}
	}
	sorting.Func(r.Connections, func(a, b ConnectionReport) int { return cmp.Compare(a.ID, b.ID) })
	sorting.Func(r.Peers, func(a, b PeerReport) int { return cmp.Compare(b.Age, a.Age) })
	return r
}

// allPortals are those of the configuration.
func (d *Daemon) allPortals() []*running {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*running
	for _, u := range d.units {
		all = append(all, u.portals...)
	}
	return all
}

// report is what a node adds.
func (m *member) report(r *Report) {
	for _, s := range m.node.Sessions() {
		r.Peers = append(r.Peers, reportPeer(s))
	}
	t := m.tells.Load()
	if t == nil {
		return
	}
	for _, f := range m.node.Forwarded() {
		r.Connections = append(r.Connections, reportForwarded(t.title, f))
	}
	if t.names != nil {
		for _, n := range t.names() {
			r.Names = append(r.Names, NameReport{
				Portal: t.title, Name: n.Name, Owner: n.Session.Peer().Identifier(),
				Source: addressText(n.Session.Link().RemoteAddr()), Age: age(n.Session),
				Standby: n.Standby, InUse: n.InUse,
			})
		}
	}
	if t.directory != nil {
		r.Directories = append(r.Directories, t.directory())
	}
	if t.nodes == nil {
		return
	}
	for _, n := range t.nodes() {
		r.Nodes = append(r.Nodes, reportNode(t.title, n))
	}
}

func reportNode(title string, n mesh.NodeStatus) NodeReport {
	node := NodeReport{
		Portal: title, Self: n.Self, State: n.State.String(), Weight: int(n.Weight),
		Error: errorText(n.Err),
	}
	if n.Weight > 0 {
		node.ID = n.ID.String()
	}
	if n.Away {
		node.State, node.Away = "away", time.Since(n.Since).Seconds()
	}
	for _, a := range n.Addresses {
		node.Addresses = append(node.Addresses, transport.Format(a))
	}
	return node
}

func reportForwarded(title string, f route.Forwarded) ConnectionReport {
	c := ConnectionReport{
		ID: f.ID, Portal: title, Source: addressText(f.From), To: f.To,
		ToService: f.Sent, ToClient: f.Received, Age: f.Open.Seconds(),
	}
	if f.Session != nil {
		id := f.Session.Peer().Identifier()
		c.Identifier = &id
	}
	return c
}

func reportPeer(s *channel.Session) PeerReport {
	p := PeerReport{
		Identifier: s.Peer().Identifier(), Name: plainName(s.Name()), Path: s.Route(), Age: age(s),
		Trusted: s.Decision().Anchor.String(),
	}
	if p.Path == "" {
		p.Source = addressText(s.Link().RemoteAddr())
	}
	if took, ok := s.RoundTrip(); ok {
		p.RoundTrip = took.Seconds()
	}
	return p
}

// plainName is a name as people know it.
func plainName(name string) string { return strings.TrimPrefix(name, route.ForwardPrefix) }

func age(s *channel.Session) float64 { return time.Since(s.Began()).Seconds() }

func addressText(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// report is what there is to tell of all connections.
func (c *connections) report() []ConnectionReport {
	c.mu.Lock()
	all := make(map[*connection]*place, len(c.open))
	for _, one := range c.open {
		all[one] = one.to
	}
	c.mu.Unlock()
	now := time.Since(c.zero)
	reports := make([]ConnectionReport, 0, len(all))
	for one, to := range all {
		reports = append(reports, one.report(now, to))
	}
	return reports
}

func (c *connection) report(now time.Duration, to *place) ConnectionReport {
	r := ConnectionReport{
		ID: c.id, Portal: titleOf(to.by.part), To: to.name, Age: (now - c.at).Seconds(),
	}
	received, sent, _ := netio.Moved(c.app)
	if _, isInlet := to.by.part.(*inlet); isInlet {
		r.Client, r.ToService, r.ToClient = addressText(c.app.RemoteAddr()), received, sent
	} else {
		r.ToService, r.ToClient = sent, received
	}
	o := c.opened.Load()
	if r.Opening = o == nil; r.Opening {
		return r
	}
	r.Suspended, r.Direct = o.stream.Suspended(), o.stream.GoesDirectly()
	if s := o.stream.Session(); s != nil {
		id := s.Peer().Identifier()
		r.Identifier, r.Name, r.Path = &id, plainName(s.Name()), s.Route()
		if r.Path == "" {
			r.Source = addressText(o.stream.RemoteAddr())
		}
	}
	return r
}

// titleOf is what a part's portal is called.
func titleOf(p part) string {
	switch p := p.(type) {
	case *inlet:
		return titled(InletKind, p.config.Listen)
	case *service:
		return titled(OutletKind, p.config.ServiceName())
	}
	return ""
}

package daemon

import (
	"os"
	"path/filepath"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/confine"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/homes"
	"github.com/secureportal/sp/route/transport"
)

// Confine does what Options.Confine does, for who has something to do between the start and that.
// It is called once, before any change.
func (d *Daemon) Confine() { d.confineTo(d.needs()) }

// needs is what the daemon needs from now on: its listeners are open, and its files known.
func (d *Daemon) needs() confine.Needs {
	var needs confine.Needs
	for _, u := range d.allUnits() {
		addNeeds(&needs, u.config, u.site.files())
		u.site.proxies.each(func(p *transport.Proxy) { addAddress(&needs, p.Address()) })
		needs.Listen = append(needs.Listen, u.site.ports...)
		for _, p := range u.site.allParts() {
			if in, ok := p.(*inlet); ok {
				if port, ok := in.listensAnew(); ok {
					needs.Listen = append(needs.Listen, port)
				}
			}
		}
	}
	needs.WriteIn = append(needs.WriteIn, confine.Folders(d.options.Files...)...)
	needs.RemoveIn = d.options.RemoveIn
	needs.WriteIn = append(needs.WriteIn, d.options.WriteIn...)
	if m := d.options.Metrics; m.Listen != "" {
		if m.TokenFile != "" {
			needs.ReadIn = append(needs.ReadIn, confine.Folders(m.TokenFile)...)
		}
		at, err := m.Address()
		if err == nil && transport.Scheme(at) == "unix" {
			needs.WriteIn = append(needs.WriteIn, filepath.Dir(at.Name))
		}
	}
	if more := d.options.Changes; more != nil {
		needs.ReadIn = append(needs.ReadIn, more.Read...)
		needs.WriteIn = append(needs.WriteIn, more.Write...)
		needs.ListenAnywhere, needs.ConnectAnywhere = true, true
	}
	return needs
}

// confineTo has the process give up everything else. What the system cannot do is logged, and no
// error.
func (d *Daemon) confineTo(needs confine.Needs) {
	for _, folder := range needs.WriteIn {
		// The one of the known histories may not be there yet, and what is not cannot be kept.
		_ = os.MkdirAll(folder, 0o700)
	}
	kept := keep(needs)
	loadSystemRoots(needs)
	done, err := confine.Process(needs)
	if done.Files {
		d.changing.Lock()
		d.kept = kept
		d.changing.Unlock()
	}
	if err != nil {
		d.options.Logger.Warn("not confined in every way", "error", err)
	}
	d.options.Logger.Debug("confined", "files", done.Files, "ports", done.Ports,
		"undumpable", done.Undumpable, "read", needs.ReadIn, "write", needs.WriteIn,
		"connect", needs.Connect, "anywhere", needs.ConnectAnywhere)
}

// addNeeds adds what a configuration needs once it runs, and reads these files again.
func addNeeds(needs *confine.Needs, c config.Config, files []string) {
	t := c.Node.Trust
	if a := c.Node.ACME; len(a.Hosts) > 0 {
		if folder, err := a.ServerFolder(); err == nil {
			needs.WriteIn = append(needs.WriteIn, folder)
		}
		needs.Connect = append(needs.Connect, a.ServerPort())
		needs.Roots = true
	}
	needs.ReadIn = append(needs.ReadIn, confine.Folders(files...)...)
	needs.WriteIn = append(needs.WriteIn, writeFolders(c)...)
	if len(c.Outlets) > 0 && len(t.AllowFiles) > 0 { // tickets are redeemed
		needs.WriteIn = append(needs.WriteIn, confine.Folders(t.AllowFiles[0])...)
	}
	for _, o := range c.Outlets {
		addEntrance(needs, o.Entrance)
		addHops(needs, o.NextHops())
		targets, _ := o.AllTargets() // they have been read before
		for _, t := range targets {
			if !t.HasNoAddress() {
				addAddress(needs, t.Address)
			}
			if check, err := o.TargetCheck(t); err == nil && check != nil {
				addAddress(needs, check.Address())
			}
		}
	}
	for _, r := range c.Relays {
		addEntrance(needs, r.Entrance)
		if len(r.Directory) > 0 { // it is read again for each connection
			_, logins, _ := readBrokers(c.Node.BrokersFile)
			needs.ReadIn = append(needs.ReadIn, confine.Folders(logins...)...)
		}
		needs.ConnectAnywhere = needs.ConnectAnywhere || r.IsOfSet()
	}
	for _, b := range c.Bridges {
		addEntrance(needs, b.Entrance)
		hops, _ := b.NextHops()
		addHops(needs, hops)
	}
	for _, i := range c.Inlets {
		to, _ := i.Routes()
		addRoutes(needs, to...)
	}
}

// addEntrance adds what it takes to be reached by relays. A relay may be one of a set, whose others
// say where they are.
func addEntrance(n *confine.Needs, e config.Entrance) {
	n.ConnectAnywhere = n.ConnectAnywhere || len(e.Relays) > 0
	for _, text := range e.Listens() {
		if a, err := config.ParseListen(text); err == nil && transport.IsQueue(a) {
			addAddress(n, a)
		}
	}
	for _, text := range e.Relays {
		if to, err := config.ParseRelay(text); err == nil {
			addRoutes(n, to)
		}
	}
}

// writeFolders are those that a configuration has to be able to write in: of the known histories,
// and of Unix sockets, whose files are removed at the end.
func writeFolders(c config.Config) (all []string) {
	seen := c.Node.Trust.Seen
	if seen == "" {
		seen, _ = trust.DefaultKnownHistoriesPath()
	}
	if seen != "" {
		all = confine.Folders(seen)
	}
	for _, at := range c.ListensAt() {
		if transport.Scheme(at) == "unix" {
			all = append(all, filepath.Dir(at.Name))
		}
	}
	return all
}

// addRoutes adds the first step of routes: the others are dialed by those on the way. A relay may
// be one of a set, whose others say where they are.
func addRoutes(n *confine.Needs, all ...route.Route) {
	for _, to := range all {
		if len(to) > 0 {
			addAddress(n, to[0])
		}
		n.ConnectAnywhere = n.ConnectAnywhere || homes.IsRelayed(to)
	}
}

func addAddress(n *confine.Needs, a route.Address) {
	switch transport.Scheme(a) {
	case "unix", "udp", "quic", "ble": // connecting to those, and UDP, is not limited
	case "tcp", "ws":
		n.Connect = append(n.Connect, a.Port)
	case "tls", "wss", "nats": // which speaks TLS where the broker asks for it
		n.Connect, n.Roots = append(n.Connect, a.Port), true
	default:
		n.ConnectAnywhere = true // another transport, whose business nobody knows here
	}
}

// addHops adds the ports of next hops, unless they are very many. Whoever asks for one says whether
// TLS is spoken with it.
func addHops(n *confine.Needs, hops config.NextHops) {
	many := 0
	for _, hop := range hops {
		if hop.OverUDP() || hop.ByRadio() {
			continue
		}
		n.Roots = true
		if hop.LeadsOn() {
			n.ConnectAnywhere = true
			return
		}
		first, last := hop.Ports()
		many += int(last) - int(first) + 1
		if many > confine.MaxConnect {
			n.ConnectAnywhere = true
			return
		}
		for port := int(first); port <= int(last); port++ {
			n.Connect = append(n.Connect, uint16(port))
		}
	}
}

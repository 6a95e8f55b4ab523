package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/confine"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/homes"
	"github.com/secureportal/sp/route/transport"
)

// confine has the process give up what c does not need: its listeners are open, and its files
// known. What the system cannot do is logged, and no error.
func (d *Daemon) confine(c config.Config) { confineTo(d.needs(c), d.options.Logger) }

// Confine does for a process of several daemons what Options.Confine does for one of one. Each of
// them runs the configuration at its place. It is called once.
func Confine(all []*Daemon, configs []config.Config, logger *slog.Logger) {
	var needs confine.Needs
	for i, d := range all {
		one := d.needs(configs[i])
		needs.ReadIn = append(needs.ReadIn, one.ReadIn...)
		needs.WriteIn = append(needs.WriteIn, one.WriteIn...)
		needs.Listen = append(needs.Listen, one.Listen...)
		needs.Connect = append(needs.Connect, one.Connect...)
		needs.ConnectAnywhere = needs.ConnectAnywhere || one.ConnectAnywhere
	}
	confineTo(needs, logger)
}

// needs is what the daemon needs from now on, which runs c.
func (d *Daemon) needs(c config.Config) confine.Needs {
	needs := needsOf(c, d.current().files())
	needs.WriteIn = append(needs.WriteIn, confine.Folders(d.options.Files...)...)
	needs.RemoveIn = d.options.RemoveIn
	needs.WriteIn = append(needs.WriteIn, d.options.WriteIn...)
	if m := d.options.Metrics; m.Listen != "" {
		if m.TokenFile != "" {
			needs.ReadIn = append(needs.ReadIn, confine.Folders(m.TokenFile)...)
		}
		addListener(&needs, m.Listen)
	}
	for _, p := range d.current().allParts() {
		if in, ok := p.(*inlet); ok {
			if port, ok := in.listensAnew(); ok {
				needs.Listen = append(needs.Listen, port)
			}
		}
	}
	return needs
}

func confineTo(needs confine.Needs, logger *slog.Logger) {
	for _, folder := range needs.WriteIn {
		// The one of the known histories may not be there yet, and what is not cannot be kept.
		_ = os.MkdirAll(folder, 0o700)
	}
	done, err := confine.Process(needs)
	if err != nil {
		logger.Warn("not confined in every way", "error", err)
	}
	logger.Debug("confined", "files", done.Files, "ports", done.Ports,
		"undumpable", done.Undumpable, "read", needs.ReadIn, "write", needs.WriteIn,
		"connect", needs.Connect, "anywhere", needs.ConnectAnywhere)
}

// needsOf returns what a configuration needs once it runs, and reads these files again.
func needsOf(c config.Config, files []string) confine.Needs {
	t := c.Node.Trust
	needs := confine.Needs{ReadIn: confine.Folders(files...)}
	seen := t.Seen
	if seen == "" {
		seen, _ = trust.DefaultKnownHistoriesPath()
	}
	if seen != "" {
		needs.WriteIn = confine.Folders(seen)
	}
	if len(c.Outlets) > 0 && len(t.AllowFiles) > 0 { // tickets are redeemed
		needs.WriteIn = append(needs.WriteIn, confine.Folders(t.AllowFiles[0])...)
	}
	for _, o := range c.Outlets {
		addEntrance(&needs, o.Entrance)
		if target, err := o.TargetAddress(); err == nil && o.Target != config.Stdio {
			addAddress(&needs, target)
		}
	}
	for _, r := range c.Relays {
		addEntrance(&needs, r.Entrance)
		needs.ConnectAnywhere = needs.ConnectAnywhere || len(r.Set) > 0
	}
	for _, b := range c.Bridges {
		addEntrance(&needs, b.Entrance)
		hops, _ := b.NextHops()
		addHops(&needs, hops)
	}
	for _, i := range c.Inlets {
		addListener(&needs, i.Listen)
		to, _ := i.Routes()
		addRoutes(&needs, to...)
	}
	return needs
}

// addEntrance adds what it takes to be reached: the relays, and the folder of a Unix socket, whose
// file is removed at the end. A relay may be one of a set, whose others say where they are.
func addEntrance(n *confine.Needs, e config.Entrance) {
	addListener(n, e.Listen)
	n.ConnectAnywhere = n.ConnectAnywhere || len(e.Relays) > 0
	for _, text := range e.Relays {
		if to, err := config.ParseRelay(text); err == nil {
			addRoutes(n, to)
		}
	}
}

func addListener(n *confine.Needs, listen string) {
	a, err := transport.ParseListen(listen, "")
	if err == nil && strings.HasPrefix(transport.Format(a), "unix:") {
		n.WriteIn = append(n.WriteIn, filepath.Dir(a.Name))
	}
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
	case "unix": // connecting to those is not limited
	case "tcp":
		n.Connect = append(n.Connect, a.Port)
	default:
		n.ConnectAnywhere = true // another transport, whose business nobody knows here
	}
}

// addHops adds the ports of next hops, unless they are very many.
func addHops(n *confine.Needs, hops config.NextHops) {
	many := 0
	for _, hop := range hops {
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

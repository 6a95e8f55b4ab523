package daemon

import (
	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/netwatch"
)

// watchNetwork has the nodes told when the network becomes another one, from now on, if c has
// something that makes links of its own accord: others have nothing to make anew. It is called with
// changing held, and does something once.
func (d *Daemon) watchNetwork(c config.Config) {
	if d.watching || !dials(c) {
		return
	}
	d.watching = true
	w := netwatch.New(netwatch.Config{Tell: d.networkChanged, Busy: d.isBusy})
	d.tasks.Go(func() { w.Run(d.life) })
}

// dials tells whether c keeps a session with somebody: an inlet does, and whatever is registered
// with a relay.
func dials(c config.Config) bool {
	n := len(c.Inlets)
	for _, o := range c.Outlets {
		n += len(o.Relays)
	}
	for _, r := range c.Relays {
		n += len(r.Relays)
	}
	for _, b := range c.Bridges {
		n += len(b.Relays)
	}
	return n > 0
}

// networkChanged tells the nodes, unless there is nothing that they could try: a network that is
// lost for a moment comes back, and what is open goes on. They are told when something comes.
func (d *Daemon) networkChanged(c netwatch.Change) {
	if c.Offline {
		d.options.Logger.Info("the network is gone", "what", c.String())
		return
	}
	d.options.Logger.Info("the network has changed", "what", c.String())
	for _, s := range d.allSites() {
		for _, m := range s.allMembers() {
			m.node.NetworkChanged()
		}
	}
}

// isBusy tells whether an application has a connection.
func (d *Daemon) isBusy() bool {
	for _, s := range d.allSites() {
		for _, m := range s.allMembers() {
			if m.node.Connections() > 0 {
				return true
			}
		}
	}
	return false
}

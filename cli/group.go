package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/route/transport"
)

// member is one node of a group.
type member struct {
	name   string   // of the node, in the log; empty for the one that has only inlets
	names  []string // of its portals, in the order of the configuration
	config config.Config
}

// group is what one process runs beside what it does otherwise. The portals have names.
type group struct {
	members []member
	daemon  *daemon.Daemon
	changed chan struct{} // gets something when a portal may have become ready
}

// groupPortal is one portal as it is now.
type groupPortal struct {
	name   string
	outlet *config.Outlet // nil: an inlet
	status daemon.PortalStatus
}

// openGroup starts all members, which sp status finds until end is called.
func openGroup(c *call, members []member, o daemon.Options) (g *group, end func(), err error) {
	g = &group{members: members, changed: make(chan struct{}, 1)}
	o.Notify = func(daemon.Event) {
		select {
		case g.changed <- struct{}{}:
		default:
		}
	}
	var all []daemon.Named
	for _, m := range members {
		all = append(all, daemon.Named{Name: m.name, Config: m.config})
	}
	g.daemon, end, err = startDaemon(c, all, o)
	return g, end, err
}

func (g *group) portals() (all []groupPortal) {
	status := g.daemon.Status().Portals
	for _, m := range g.members {
		for i, name := range m.names {
			p := groupPortal{name: name, status: status[len(all)]}
			if len(m.config.Outlets) > 0 {
				p.outlet = &m.config.Outlets[i]
			}
			all = append(all, p)
		}
	}
	return all
}

// ready returns when all portals have been reached, or why one could not be within timeout.
func (g *group) ready(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, noAnswer(timeout))
	defer cancel()
	for {
		if _, waiting := g.firstUnready(); waiting == nil {
			return nil
		}
		select {
		case <-g.changed:
			continue
		case <-ctx.Done():
		}
		err := context.Cause(ctx)
		name, waiting := g.firstUnready()
		if waiting == nil {
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && waiting.Err != nil &&
			!errors.Is(waiting.Err, context.Canceled) { // nothing is known yet
			err = fmt.Errorf("not reached within %v: %w", timeout, waiting.Err)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
}

// firstUnready is a portal that is not ready, and its name; nil if all are.
func (g *group) firstUnready() (string, *daemon.PortalStatus) {
	for _, p := range g.portals() {
		if !p.status.Ready {
			return p.name, &p.status
		}
	}
	return "", nil
}

// sayServed tells how the outlets are reached, as they themselves would.
func (g *group) sayServed(w io.Writer) {
	id := g.daemon.Status().Identifier
	for _, p := range g.portals() {
		if p.outlet != nil {
			e := daemon.Event{Identifier: id, Portal: p.status}
			fmt.Fprintf(w, "sp: %s: %s\n", p.name, inletCommands(*p.outlet, e))
		}
	}
}

// words are what the program that is run knows of the portals: what {KEY} stands for in its
// arguments, and the variables of its environment.
type words struct {
	inBraces  []string // pairs for strings.NewReplacer
	variables []string // NAME=VALUE
}

func (g *group) words() words {
	var all words
	for _, p := range g.portals() {
		n := config.Named{Name: p.name}
		if p.outlet == nil {
			all.addAddress(n, p.status.Address)
			continue
		}
		if targets, err := p.outlet.AllTargets(); err == nil && len(targets) == 1 &&
			!targets[0].HasNoAddress() {
			all.addAddress(n, transport.Format(targets[0].Address))
		}
		if to := routesTo(p.outlet.Entrance, p.status); len(to) > 0 && p.outlet.IsUDP() {
			all.add(n, "route", udpPrefix+to[0])
		} else if len(to) > 0 {
			all.add(n, "route", to[0])
		}
	}
	return all
}

// udpPrefix begins what is for datagrams. The address of a portal is without: it is for a program
// that knows what it sends there.
const udpPrefix = "udp://"

// addAddress adds where a portal is: a Unix socket has no host and no port.
func (w *words) addAddress(n config.Named, address string) {
	address = strings.TrimPrefix(address, udpPrefix)
	w.add(n, "addr", address)
	w.inBraces = append(w.inBraces, "{"+n.Name+"}", address)
	host, port, err := net.SplitHostPort(address)
	if err == nil && !strings.HasPrefix(address, "unix:") {
		w.add(n, "host", host)
		w.add(n, "port", port)
	}
}

func (w *words) add(n config.Named, what, value string) {
	w.inBraces = append(w.inBraces, "{"+n.Name+"."+what+"}", value)
	name := environmentPrefix + n.Variable() + "_" + strings.ToUpper(what)
	w.variables = append(w.variables, name+"="+value)
}

// replaceAll returns a command line with what is known in place of {NAME}. Other braces stay.
func (w words) replaceAll(args []string) []string {
	replacer := strings.NewReplacer(w.inBraces...)
	all := make([]string, len(args))
	for i, a := range args {
		all[i] = replacer.Replace(a)
	}
	return all
}

// addTo returns an environment with the variables, in place of those of these names.
func (w words) addTo(environment []string) []string {
	var names []string
	for _, v := range w.variables {
		name, _, _ := strings.Cut(v, "=")
		names = append(names, name)
	}
	return append(withoutVariables(environment, names...), w.variables...)
}

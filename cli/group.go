package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/route/transport"
)

// member is one daemon of a group.
type member struct {
	names  []string // of its portals, in the order of the configuration
	config config.Config
	daemon *daemon.Daemon
}

// group is the daemons that one process has beside what it does otherwise. The portals have names.
type group struct {
	members []member
	changed chan struct{} // gets something when a portal may have become ready
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
	for _, m := range g.members {
		for i, p := range m.daemon.Status().Portals {
			if !p.Ready {
				return m.names[i], &p
			}
		}
	}
	return "", nil
}

// each calls do for all members at the same time, and returns when all have done it.
func (g *group) each(do func(*daemon.Daemon) error) error {
	var tasks sync.WaitGroup
	errs := make([]error, len(g.members))
	for i, m := range g.members {
		tasks.Go(func() { errs[i] = do(m.daemon) })
	}
	tasks.Wait()
	return errors.Join(errs...)
}

func (g *group) close() { _ = g.each((*daemon.Daemon).Close) }

// shutdown ends all as daemon.Shutdown does.
func (g *group) shutdown() error { return g.each((*daemon.Daemon).Shutdown) }

// confine has the process give up what none of the members needs.
func (g *group) confine() {
	var daemons []*daemon.Daemon
	var configs []config.Config
	for _, m := range g.members {
		daemons, configs = append(daemons, m.daemon), append(configs, m.config)
	}
	daemon.Confine(daemons, configs)
}

// sayServed tells how the outlets are reached, as they themselves would.
func (g *group) sayServed(w io.Writer) {
	for _, m := range g.members {
		status := m.daemon.Status()
		for i, o := range m.config.Outlets {
			e := daemon.Event{Identifier: status.Identifier, Portal: status.Portals[i]}
			fmt.Fprintf(w, "sp: %s: %s\n", m.names[i], inletCommandLine(o.Entrance, e))
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
	for _, m := range g.members {
		portals := m.daemon.Status().Portals
		for i, p := range portals {
			n := config.Named{Name: m.names[i]}
			if p.Kind == daemon.InletKind {
				all.addAddress(n, p.Address)
				continue
			}
			o := m.config.Outlets[i]
			target, _ := o.TargetAddress() // it is valid
			all.addAddress(n, transport.Format(target))
			if to := routesTo(o.Entrance, p); len(to) > 0 {
				all.add(n, "route", to[0])
			}
		}
	}
	return all
}

// addAddress adds where a portal is: a Unix socket has no host and no port.
func (w *words) addAddress(n config.Named, address string) {
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

package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/keyfile"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

func asField(err error) (f *config.FieldError, ok bool) { return f, errors.As(err, &f) }

func asKeyError(err error) (k *keyError, ok bool) { return k, errors.As(err, &k) }

// checkSockets wants Unix sockets on the way to have paths that mean the same everywhere: nobody
// knows in which folder a service is started.
func checkSockets(c config.Config) error {
	check := func(key, text string, to route.Route) error {
		for _, a := range to {
			if transport.Scheme(a) == "unix" && !filepath.IsAbs(a.Name) {
				return &keyError{key: key, err: fmt.Errorf(
					"%s %q: the path of a Unix socket begins with / here", key, text)}
			}
		}
		return nil
	}
	for _, i := range c.Inlets {
		routes, _ := i.Routes()
		for n, to := range routes {
			if err := check("to", i.To[n], to); err != nil {
				return err
			}
		}
	}
	for _, role := range portalRoles {
		if role.entrance == nil || !hasRole(c, role.kind) {
			continue
		}
		for _, text := range role.entrance(&c).Relays {
			to, _ := config.ParseRelay(text)
			if err := check("relay", text, to); err != nil {
				return err
			}
		}
	}
	return nil
}

func hasRole(c config.Config, kind string) bool {
	return kind == "outlet" && len(c.Outlets) > 0 || kind == "relay" && len(c.Relays) > 0 ||
		kind == "bridge" && len(c.Bridges) > 0
}

// checkTogether looks for what only several portals can get wrong: that they listen at the same
// address, or claim the same name on the same relay.
func (r *fileReader) checkTogether(f *portalFile) {
	r.checkListening(f)
	taken := make(map[string]string) // what is claimed, to who claims it
	for i := range f.portals {
		p := &f.portals[i]
		if p.role.entrance == nil {
			continue
		}
		e := p.role.entrance(&p.config)
		for _, relay := range e.Relays {
			what := fmt.Sprintf("it claims the name %s on the relay %s", e.Name, relay)
			if other, ok := taken[what]; ok {
				r.fault(keyfile.Faultf(p.lineOf("name"), "%s: %s, which %s does already", p.fullName(),
					what, other), nil)
				continue
			}
			taken[what] = p.fullName()
		}
	}
}

// lineOf is the line of a key of a portal, or of its table where the key is not there.
func (p *filePortal) lineOf(key string) int {
	if k, given := p.keys[key]; given && k.Line() > 0 {
		return k.Line()
	}
	return p.table.Line()
}

// checkListening looks for portals that listen at the same address, or at one that includes
// another's.
func (r *fileReader) checkListening(f *portalFile) {
	type place struct {
		at transport.Address
		of string
	}
	var taken []place
	metrics := f.metrics()
	if at, err := metrics.Address(); err == nil && metrics.Listen != "" {
		taken = append(taken, place{at, "metrics"})
	}
	for i := range f.portals {
		p := &f.portals[i]
		for _, at := range p.config.ListensAt() {
			n := slices.IndexFunc(taken, func(t place) bool { return transport.Overlap(t.at, at) })
			if n < 0 {
				taken = append(taken, place{at, p.fullName()})
				continue
			}
			what := "which " + taken[n].of + " does already"
			if taken[n].at != at {
				what = fmt.Sprintf("and %s at %s: that is the same port of the same address", taken[n].of,
					transport.Format(taken[n].at))
			}
			r.fault(keyfile.Faultf(p.lineOf("listen"), "%s: it listens at %s, %s", p.fullName(),
				transport.Format(at), what), nil)
		}
	}
}

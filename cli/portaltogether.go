package cli

import (
	"errors"
	"fmt"
	"path/filepath"

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
func (r *fileReader) checkTogether(portals []filePortal) {
	taken := make(map[string]string) // what is claimed, to who claims it
	claim := func(p *filePortal, key, what string) {
		if other, ok := taken[what]; ok {
			line := p.table.Line()
			if k, given := p.keys[key]; given && k.Line() > 0 {
				line = k.Line()
			}
			r.fault(keyfile.Faultf(line, "%s: %s, which %s does already", p.fullName(), what, other), nil)
			return
		}
		taken[what] = p.fullName()
	}
	for i := range portals {
		p := &portals[i]
		for _, at := range p.config.ListensAt() {
			if !transport.IsFreePort(at) {
				claim(p, "listen", "it listens at "+transport.Format(at))
			}
		}
		if p.role.entrance == nil {
			continue
		}
		e := p.role.entrance(&p.config)
		for _, relay := range e.Relays {
			claim(p, "name", fmt.Sprintf("it claims the name %s on the relay %s", e.Name, relay))
		}
	}
}

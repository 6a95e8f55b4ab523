package cli

import (
	"strings"
	"sync"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// One process may be several inlets, of outlets at the end of one way:
//
//	sp inlet db=:5432,web=:8080 server.example.com:7000
//
// has a connection to :5432 go to db@server.example.com:7000, as sp outlet --target db=…,web=… says
// what is behind it.

// severalInlets are those that --listen asks for, or in itself, which has a way to its outlet.
func severalInlets(in config.Inlet) ([]config.Inlet, []string, error) {
	places := config.NamedPlaces(in.Listen)
	if len(places) == 0 {
		return []config.Inlet{in}, nil, nil
	}
	var all []config.Inlet
	var names []string
	taken := make(map[string]bool)
	for _, place := range places {
		one := in
		one.Listen, one.To = place.Where, nil
		at, err := one.Address()
		if err != nil {
			return nil, nil, err
		}
		if taken[place.Name] || taken[place.Where] && !transport.IsFreePort(at) {
			return nil, nil, usage("--listen %s=%s: it is there twice", place.Name, place.Where)
		}
		taken[place.Name], taken[place.Where] = true, true
		for _, text := range in.To {
			to, err := config.ParseRelay(text)
			if err != nil {
				return nil, nil, usage("--to %s: where --listen has names, it is the host:port where "+
					"they are, or a chain to it", text)
			}
			one.To = append(one.To, route.Format(route.ThroughRelay(to, place.Name)))
		}
		if one.IsOnce() {
			return nil, nil, usage("several inlets, for one connection: which?")
		}
		all, names = append(all, one), append(names, place.Name)
	}
	return all, names, nil
}

// whenAllReady calls say once, with what is to be printed when all inlets are ready.
func whenAllReady(inlets int, names []string, say func(text string)) func(daemon.Event) {
	var mu sync.Mutex
	lines := make([]string, inlets)
	missing := inlets
	return func(e daemon.Event) {
		mu.Lock()
		defer mu.Unlock()
		line := strings.Join(e.Portal.Everywhere(), " ")
		if names != nil {
			line = names[e.Number] + " " + line
		}
		lines[e.Number] = line
		if missing--; missing == 0 {
			say(strings.Join(lines, "\n"))
		}
	}
}

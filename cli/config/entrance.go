package config

import (
	"errors"
	"strings"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// Entrance says how links come in to a node: where it listens for them, and under which name it is
// asked for there, and on relays. An empty one lets none in.
type Entrance struct {
	// Listen is where links come in: host:port, unix:PATH, or tls://host:port, wss://host:port/path
	// or ws://host:port/path. No host is every interface, port
	// 0 is a free one. Empty means nowhere. Field "listen".
	Listen string

	// AlsoListen is where else links come in, each as Listen. Field "listen".
	AlsoListen []string

	// Relays are relays that forward links for Name, each host:port or a route to the relay's
	// node. Field "relay".
	Relays []string

	// Name is what the node claims on each of Relays, and what an outlet is asked for by where it
	// listens. An outlet without one is asked for without. Field "name".
	Name string

	// RelayIdentities are the Identifiers of which a relay must have one, and each node that is
	// entered through a channel on the way to it. Empty means that a relay may be whoever answers
	// there: it is trusted with nothing. If the node has authorities, it then must have the node's
	// own Identifier, or a credential of theirs. Field "relay-identity".
	RelayIdentities []string

	// Mux keeps no standby links to the relays: everything goes over one connection to each, at
	// the cost of speed. Field "mux".
	Mux bool

	// Replace takes the name from another process of the node's identity that holds it on a relay.
	// Otherwise that process keeps it as long as it answers. Field "replace".
	Replace bool

	// Share has the name on the relays together with other processes of the node's identity that
	// share it. Field "share".
	Share bool

	// NoWait has the start fail if a relay does not answer or refuses the name. Otherwise it is
	// tried again until it works. Field "no-wait".
	NoWait bool
}

// Validate says which field is wrong, or returns nil.
func (e Entrance) Validate() error {
	for _, listen := range e.Listens() {
		if _, err := ParseListen(listen); err != nil {
			return err
		}
	}
	for _, text := range e.Relays {
		if _, err := ParseRelay(text); err != nil {
			return err
		}
	}
	if len(e.Relays) > 0 && e.Name == "" {
		return fieldError("name", "{relay} stands without {name}")
	}
	if e.Share && len(e.Relays) == 0 {
		return fieldError("relay", "{share} stands without {relay}: a name is shared on a relay")
	}
	if e.Name != "" {
		if err := route.Forward(e.Name).Validate(); err != nil {
			return fieldError("name", "{name} %q is not 1 to %d letters, digits, dots, dashes and "+
				"underscores", e.Name, route.MaxOutletName)
		}
	}
	if _, err := ParseIdentifiers("relay-identity", e.RelayIdentities); err != nil {
		return err
	}
	return nil
}

// validateNode is Validate for a node that is asked for by a name on relays only.
func (e Entrance) validateNode() error {
	if err := e.Validate(); err != nil {
		return err
	}
	if e.Name != "" && len(e.Relays) == 0 {
		return fieldError("relay", "{name} stands without {relay}")
	}
	return nil
}

// Listens returns Listen and AlsoListen.
func (e Entrance) Listens() []string {
	if e.Listen == "" {
		return e.AlsoListen
	}
	return append([]string{e.Listen}, e.AlsoListen...)
}

// overTLS returns one of Listens that is over TLS, or nothing.
func (e Entrance) overTLS() string {
	for _, listen := range e.Listens() {
		if a, err := ParseListen(listen); err == nil && transport.OverTLS(a) {
			return listen
		}
	}
	return ""
}

// OverTLS tells whether links come in over TLS.
func (e Entrance) OverTLS() bool { return e.overTLS() != "" }

// ParseListen reads where links come in: what Listen may hold.
func ParseListen(text string) (Address, error) {
	a, err := transport.ParseListen(text, "")
	if err != nil {
		return a, fieldError("listen", "{listen}: %w", err)
	}
	return a, nil
}

// ParseRelay reads where a relay is: host:port, a chain of short forms whose last one that is, or
// the long form of a route that leads to its node.
func ParseRelay(text string) (route.Route, error) {
	name, at, named := strings.Cut(text, "@")
	if named && !strings.Contains(text, "/") && !transport.HasScheme(text) {
		return nil, fieldError("relay", "{relay} %q: the name to claim there stands apart: "+
			"{relay} %s {name} %s", text, at, name)
	}
	to, err := parseRelay(text)
	switch {
	case err != nil:
	case len(to) == 0 || !to[0].IsTransport():
		err = route.ErrNotDialable
	default:
		err = errors.Join(route.Check(to), transport.Impossible(to[0]))
	}
	if err != nil {
		return nil, fieldError("relay", "{relay} %q: %w", text, err)
	}
	return to, nil
}

func parseRelay(text string) (route.Route, error) {
	if len(text) > 0 && text[0] == '/' {
		return route.Parse(text)
	}
	if route.IsChain(text) {
		return parseRelayChain(text)
	}
	a, err := transport.Parse(text)
	return route.Route{a}, err
}

// parseRelayChain reads a chain of short forms as far as its last node.
func parseRelayChain(text string) (route.Route, error) {
	if strings.Contains(text[strings.LastIndexByte(text, '/'):], "#") {
		return nil, errors.New("whose the relay is, --relay-identity says")
	}
	to, err := route.Parse(text)
	if err != nil {
		return nil, err
	}
	return to[:len(to)-len(route.ToOutlet())], nil
}

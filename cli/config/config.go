// Package config says what one process of sp is, as plain values: a node, and the portals on it.
//
// The zero value of a field is its default, so a configuration holds only what its owner cares
// about. Flags fill it, and so can a file or a program. Everything that a person writes is text
// here, in the same form as on the command line; Validate says which field is wrong and why.
//
// The package never reads a file, dials, or logs. It knows no command and no flag library.
package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/route/transport"
)

// Config is one process: a node and its portals. A node without portals serves nobody, but can
// open routes.
//
// A process of relays alone, for which no Node.Identity is named, has a key that no other role has.
// Nobody else has its identity: if Node.Trust names nobody, it trusts its user's own as well.
type Config struct {
	Node    Node
	Inlets  []Inlet
	Outlets []Outlet
	Relays  []Relay
	Bridges []Bridge

	// IdleExit is how long no connection of an inlet or an outlet may be open until the process is
	// to end. 0 means for ever. Field "idle-exit".
	IdleExit time.Duration
}

// KeyFile returns which file has the node's key: Node.Identity, or identity.RelayPath for relays
// alone, or identity.DefaultPath. An error is that the user has no place for such files.
func (c Config) KeyFile() (string, error) {
	switch {
	case c.Node.Identity != "":
		return c.Node.Identity, nil
	case c.HasRelayKey():
		return identity.RelayPath()
	}
	return identity.DefaultPath()
}

// HasRelayKey tells whether the node's key is one that only relays have. Nobody comes with a copy.
func (c Config) HasRelayKey() bool {
	return c.Node.Identity == "" && len(c.Relays) > 0 &&
		len(c.Inlets)+len(c.Outlets)+len(c.Bridges) == 0
}

// ExpectsCopies tells whether somebody may be meant to come with a copy of the node's key: not to
// relays alone whose key only relays have, or where authorities say who comes.
func (c Config) ExpectsCopies() bool {
	if len(c.Outlets)+len(c.Bridges) > 0 {
		return true
	}
	t := c.Node.Trust
	byWord := len(t.Authorities) > 0 && len(t.Allow)+len(t.AllowFiles) == 0
	return len(c.Relays) > 0 && !c.HasRelayKey() && !byWord
}

// TrustsOwner tells whether the node trusts its user's own identity, which identity.PublicPath
// names, beside its own.
func (c Config) TrustsOwner() bool { return c.HasRelayKey() && !c.Node.Trust.namesAnybody() }

// TrustsFriends tells whether the node trusts its user's friends, whom identity.FriendsPath names:
// as it trusts the user's own identity, and only if that is what it has, or what its relay is for.
// Nobody has friends where a key's place is given by SP_IDENTITY, or there is no place for either.
func (c Config) TrustsFriends() bool {
	t := c.Node.Trust
	if c.Node.Identity != "" || c.Node.Ticket != "" || t.NoFriends || t.namesAnybody() {
		return false
	}
	key, err := identity.DefaultPath()
	return c.HasRelayKey() || err == nil && identity.IsOwn(key)
}

// Validate returns nil, or the first thing that is wrong: a *FieldError where one field is.
// It tells what cannot work whatever the machine; a port that is taken it does not see.
func (c Config) Validate() error {
	if err := c.Node.Validate(); err != nil {
		return err
	}
	for _, i := range c.Inlets {
		if err := i.Validate(); err != nil {
			return inPortal("inlet "+i.Listen, err)
		}
	}
	for _, o := range c.Outlets {
		if err := o.Validate(); err != nil {
			return inPortal("outlet "+o.ServiceName(), err)
		}
	}
	for _, r := range c.Relays {
		if err := r.Validate(); err != nil {
			return inPortal("relay "+r.Listen, err)
		}
		if len(r.Set) > 0 && len(r.RelayIdentities)+len(c.Node.Trust.Authorities) == 0 {
			err := fieldError("set", "{set} does not say who the other relays are: name them with "+
				"{relay-identity}, or an {authority} that calls them relays")
			return inPortal("relay "+r.Listen, err)
		}
	}
	for _, b := range c.Bridges {
		if err := b.Validate(); err != nil {
			return inPortal("bridge "+b.Listen, err)
		}
	}
	if c.IdleExit < 0 {
		return notATime("idle-exit", c.IdleExit)
	}
	return c.validateTogether()
}

// validateTogether checks what only several portals can get wrong.
func (c Config) validateTogether() error {
	if err := c.validateServices(); err != nil {
		return err
	}
	if err := c.validateTLS(); err != nil {
		return err
	}
	taken := make(map[string]string) // what is claimed, to who claims it
	for i, in := range c.Inlets {
		if err := claim(taken, fmt.Sprintf("inlet %d", i+1), Entrance{Listen: in.Listen}); err != nil {
			return err
		}
	}
	for _, o := range c.Outlets { // they share a node, and so what they have in common
		for _, e := range o.Entrances() {
			if err := claim(taken, "outlets", e); err != nil {
				return err
			}
		}
	}
	for i, r := range c.Relays {
		if err := claim(taken, fmt.Sprintf("relay %d", i+1), r.Entrance); err != nil {
			return err
		}
	}
	for i, b := range c.Bridges {
		if err := claim(taken, fmt.Sprintf("bridge %d", i+1), b.Entrance); err != nil {
			return err
		}
	}
	return nil
}

// validateServices wants each outlet to have a service name of its own, and a way in.
func (c Config) validateServices() error {
	services := make(map[string]bool)
	reachable := len(c.Outlets) == 0
	for _, o := range c.Outlets {
		name := o.ServiceName()
		if services[name] {
			return fieldError("service",
				"two outlets have the {service} %q: give each its own", name)
		}
		services[name] = true
		reachable = reachable || len(o.Listens()) > 0 || len(o.Relays) > 0
	}
	if !reachable {
		return fieldError("listen",
			"neither {listen} nor {relay}: nobody could reach the outlet")
	}
	return nil
}

// validateTLS wants a certificate for who listens over TLS, and a listener for who asks for one.
func (c Config) validateTLS() error {
	asks := len(c.Node.ACME.Hosts) > 0
	for _, e := range c.entrances() {
		listen := e.overTLS()
		switch {
		case listen == "":
		case asks:
			return nil
		case c.Node.TLSCert == "":
			return fieldError("tls-cert", "{listen} %s takes a certificate: {tls-cert} and {tls-key}, "+
				"or {acme}; behind a proxy that has them, it is ws://", listen)
		}
	}
	if asks {
		return fieldError("acme", "{acme} stands without a {listen} of tls:// or wss://, where the "+
			"authority would look for the certificate's owner")
	}
	return nil
}

// claim takes note that somebody listens at an address and claims names on relays, and refuses
// what another has. Two that listen at a free port get different ones.
func claim(taken map[string]string, who string, e Entrance) error {
	for _, listen := range e.Listens() {
		parse := transport.ParseListen
		if transport.IsUDP(listen) {
			parse = transport.ParseUDP
		}
		a, err := parse(listen, "")
		if err == nil && transport.IsFreePort(a) {
			continue
		}
		if other, ok := taken[listen]; ok && other != who {
			return fieldError("listen", "{listen} %q: another portal listens there", listen)
		}
		taken[listen] = who
	}
	terms := fmt.Sprintf("%s %q %v %v", who, e.RelayIdentities, e.Mux, e.Share)
	for _, relay := range e.Relays {
		key := relay + " " + e.Name
		if other, ok := taken[key]; ok && other != terms {
			return fieldError("name",
				"{name} %q: another portal claims it on the same relay", e.Name)
		}
		taken[key] = terms
	}
	return nil
}

// inPortal says in which portal a field is wrong.
func inPortal(portal string, err error) error {
	var f *FieldError
	if errors.As(err, &f) {
		f.Portal = strings.TrimSpace(portal)
	}
	return err
}

// entrances are by which links come in.
func (c Config) entrances() (all []Entrance) {
	for _, o := range c.Outlets {
		all = append(all, o.Entrance)
	}
	for _, r := range c.Relays {
		all = append(all, r.Entrance)
	}
	for _, b := range c.Bridges {
		all = append(all, b.Entrance)
	}
	return all
}

// ListensAt returns the addresses that a valid configuration listens at, but for stdin and stdout.
// Port 0 is a free one.
func (c Config) ListensAt() (all []Address) {
	add := func(a Address, err error) {
		if err == nil {
			all = append(all, a)
		}
	}
	for _, i := range c.Inlets {
		if i.Listen != Stdio {
			add(i.Address())
		}
	}
	for _, e := range c.entrances() {
		for _, text := range e.Listens() {
			add(ParseListen(text))
		}
	}
	return all
}

package config

import (
	"slices"
	"strings"
	"time"

	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
)

// Outlet stands next to a service and lets those who are trusted reach it.
//
// The outlets of a process are on one node: a link that comes in by any of their entrances
// reaches all of them, each by its service name. So one of them needs an entrance, and the
// others may have their own.
type Outlet struct {
	Entrance

	// Service is the name that routes ask for: …/secure/api/service/NAME. Empty means
	// route.OutletName, which the short forms of a route stand for. Field "service".
	Service string

	// Target is the service: host:port, unix:PATH, tls://host:port, which is spoken to in TLS, Stdio,
	// or Bench. No host is loopback. Field "target".
	Target string

	// TargetCA is a file with the certificates that a target of tls:// is verified by, in PEM. It is
	// read at the start. Empty means those that the system has. Field "target-ca".
	TargetCA string

	// Once has the outlet carry one connection: the first that asks for it, and no other. Stdio is
	// always for one. Field "once".
	Once bool

	// ProxyProtocol has each connection to the service begin with a header of the PROXY
	// protocol that tells who is calling: "v2". Empty means none. Field "proxy-protocol".
	ProxyProtocol string

	// Check says how to find out whether the service is well: "tcp", or a URL of http, which without
	// a host is asked of Target. While it is not, connections are refused. Empty means that it always
	// is. Field "check".
	Check string

	// CheckInterval is the time between two checks. 0 means DefaultCheckInterval. Field
	// "check-interval".
	CheckInterval time.Duration
}

// DefaultCheckInterval is the time between two checks of a service.
const DefaultCheckInterval = portal.DefaultCheckInterval

// reserved are services that a node or a relay has itself.
var reserved = []string{
	route.SecureName, route.HopName, route.EchoName, route.UppercaseName,
	route.LeavingName, relay.RegisterName, relay.StandbyName,
}

// Validate says which field is wrong, or returns nil. That nobody could reach the outlet only
// Config.Validate can tell.
func (o Outlet) Validate() error {
	if err := o.Entrance.Validate(); err != nil {
		return err
	}
	if o.Name != "" && len(o.Listens()) == 0 && len(o.Relays) == 0 {
		return fieldError("relay", "{name} stands without {listen} or {relay}")
	}
	name := o.ServiceName()
	_, isInstance := route.InstanceOf(route.Address{Kind: route.KindService, Name: name})
	if slices.Contains(reserved, name) || strings.HasPrefix(name, route.ForwardPrefix) || isInstance {
		return fieldError("service", "{service} %q: nodes have a service of that name", name)
	}
	if err := (route.Address{Kind: route.KindService, Name: name}).Validate(); err != nil {
		return fieldError("service", "{service} %q: %w", name, err)
	}
	if _, err := o.TargetAddress(); err != nil {
		return err
	}
	if o.Target == Bench && (o.ProxyProtocol != "" || o.Check != "") {
		return fieldError("target", "{target} %s has no use for {proxy-protocol} and {check}", Bench)
	}
	if o.TargetCA != "" && !o.IsTLS() {
		return fieldError("target-ca", "{target-ca} is for a {target} of tls://host:port")
	}
	if v := o.ProxyProtocol; v != "" && v != "v2" {
		return fieldError("proxy-protocol", "{proxy-protocol} %q is not v2", v)
	}
	if o.CheckInterval < 0 {
		return fieldError("check-interval", "{check-interval} %v is not a time to wait",
			o.CheckInterval)
	}
	_, err := o.TargetCheck()
	return err
}

// TargetCheck is what Check says, or nil if there is none.
func (o Outlet) TargetCheck() (*portal.Check, error) {
	if o.Check == "" {
		return nil, nil
	}
	if o.Target == Stdio {
		return nil, fieldError("check", "{check} stands with {target} -, of which there is one")
	}
	target, err := o.TargetAddress()
	if err != nil {
		return nil, err
	}
	c, err := portal.ParseCheck(o.Check, target)
	if err != nil {
		return nil, fieldError("check", "{check}: %w", err)
	}
	c.Interval = o.CheckInterval
	return c, nil
}

// Bench, as Target, is a service that the outlet has itself, for sp bench: see
// portal.DialMeasured.
const Bench = "bench:"

// HasNoAddress tells whether the service is nowhere that could be dialed.
func (o Outlet) HasNoAddress() bool { return o.Target == Stdio || o.Target == Bench }

// ServiceName is Service with its default filled in.
func (o Outlet) ServiceName() string {
	if o.Service == "" {
		return route.OutletName
	}
	return o.Service
}

// IsTLS tells whether the service is spoken to in TLS.
func (o Outlet) IsTLS() bool { return strings.HasPrefix(o.Target, tlsPrefix) }

// IsOnce tells whether the outlet is for one connection.
func (o Outlet) IsOnce() bool { return o.Once || o.Target == Stdio }

const (
	tlsPrefix  = "tls://"
	execPrefix = "exec:"
)

// TargetAddress is where Target says, and the zero Address if that is Stdio.
func (o Outlet) TargetAddress() (Address, error) {
	text, isTLS := strings.CutPrefix(o.Target, tlsPrefix)
	switch {
	case o.Target == "":
		return Address{}, fieldError("target", "{target} is missing: where is the service?")
	case o.Target == Stdio, o.Target == Bench:
		return Address{}, nil
	case strings.HasPrefix(text, execPrefix):
		return Address{}, fieldError("target", "{target} %q: an outlet runs no programs, for whoever "+
			"reaches it would give them their input; have systemd (Accept=yes), inetd or socat run it, "+
			"or use {target} - as the program's stdin and stdout", o.Target)
	case isTLS && (strings.HasPrefix(text, ":") || transport.HasScheme(text)):
		return Address{}, fieldError("target", "{target} %q: TLS takes the name that the service's "+
			"certificate is for: tls://host:port", o.Target)
	}
	a, err := transport.ParseTarget(text, loopback)
	if err == nil {
		err = transport.Impossible(a)
	}
	if err != nil {
		return a, fieldError("target", "{target}: %w", err)
	}
	return a, nil
}

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

	// Target is the service: host:port, unix:PATH, tls://host:port, which is spoken to in TLS,
	// udp://host:port, which is sent datagrams, or Stdio. No host is loopback. Field "target".
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
	name := o.PlainName()
	_, isInstance := route.InstanceOf(route.Address{Kind: route.KindService, Name: name})
	if slices.Contains(reserved, name) || hasReservedPrefix(name) || isInstance {
		return fieldError("service", "{service} %q: nodes have a service of that name", name)
	}
	at := route.Address{Kind: route.KindService, Name: o.ServiceName()}
	if err := at.Validate(); err != nil {
		return fieldError("service", "{service} %q: %w", name, err)
	}
	if _, err := o.TargetAddress(); err != nil {
		return err
	}
	if o.TargetCA != "" && !o.IsTLS() {
		return fieldError("target-ca", "{target-ca} is for a {target} of tls://host:port")
	}
	if v := o.ProxyProtocol; v != "" && v != "v2" {
		return fieldError("proxy-protocol", "{proxy-protocol} %q is not v2", v)
	}
	if o.ProxyProtocol != "" && o.IsUDP() {
		return fieldError("proxy-protocol", "{proxy-protocol} is not for a {target} of udp://, whose "+
			"datagrams stay as they are")
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
	if o.IsUDP() && !strings.HasPrefix(o.Check, "http://") {
		return nil, fieldError("check", "{check} %s: nothing tells whether somebody listens for "+
			"datagrams; {check} http://HOST:PORT/PATH asks a service that does tell", o.Check)
	}
	if o.IsUDP() && strings.HasPrefix(o.Check, "http:///") {
		return nil, fieldError("check", "{check} %s: beside a {target} of udp:// it takes a host: "+
			"http://HOST:PORT/PATH", o.Check)
	}
	c, err := portal.ParseCheck(o.Check, target)
	if err != nil {
		return nil, fieldError("check", "{check}: %w", err)
	}
	c.Interval = o.CheckInterval
	return c, nil
}

// ServiceName is the name by which the node has the service: Service with its default filled in,
// and in the form that services of datagrams have if it is one.
func (o Outlet) ServiceName() string {
	if o.IsUDP() {
		return route.DatagramsPrefix + o.PlainName()
	}
	return o.PlainName()
}

// PlainName is Service with its default filled in.
func (o Outlet) PlainName() string {
	if o.Service == "" {
		return route.OutletName
	}
	return o.Service
}

// hasReservedPrefix tells whether names that begin so are services that nodes have themselves.
func hasReservedPrefix(name string) bool {
	return strings.HasPrefix(name, route.ForwardPrefix) ||
		strings.HasPrefix(name, route.DatagramsPrefix)
}

// IsUDP tells whether the service is sent datagrams.
func (o Outlet) IsUDP() bool { return transport.IsUDP(o.Target) }

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
	case o.Target == Stdio:
		return Address{}, nil
	case strings.HasPrefix(text, execPrefix):
		return Address{}, fieldError("target", "{target} %q: an outlet runs no programs, for whoever "+
			"reaches it would give them their input; have systemd (Accept=yes), inetd or socat run it, "+
			"or use {target} - as the program's stdin and stdout", o.Target)
	case isTLS && (strings.HasPrefix(text, ":") || transport.HasScheme(text)):
		return Address{}, fieldError("target", "{target} %q: TLS takes the name that the service's "+
			"certificate is for: tls://host:port", o.Target)
	}
	parse := transport.ParseTarget
	if o.IsUDP() {
		parse = transport.ParseUDP
	}
	a, err := parse(text, loopback)
	if err == nil {
		err = transport.Impossible(a)
	}
	if err != nil {
		return a, fieldError("target", "{target}: %w", err)
	}
	return a, nil
}

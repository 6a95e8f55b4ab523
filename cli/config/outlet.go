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
	// udp://host:port, which is sent datagrams, Stdio, or Bench. No host is loopback. Field "target".
	Target string

	// Targets are services of which inlets choose one, by its name: NAME=TARGET, several with commas
	// between, each TARGET what Target may be but Stdio and udp://host:port. The outlet is asked for
	// by each NAME, or by NAME.Name where it has a Name. It has no Target then. Field "target".
	Targets []string

	// ServerNames are services of which clients of TLS choose one, by the server name that they ask
	// for: NAME=TARGET. Target is for clients who want another, and may be empty. Field "sni".
	ServerNames []string

	// Socks5 has inlets say, for each connection, what to connect to, as clients of an inlet that is
	// so too have asked it. It goes as far as AllowTargets say, and there is no Target. Field
	// "socks5".
	Socks5 bool

	// AllowTargets say what may be reached, and by whom, each WHAT or WHAT if WHO: see ParseAllowed.
	// WHAT is one of the names of Targets or ServerNames, * where ServerNames have none and Target
	// is meant, or with Socks5 HOST:PORTS or CIDR:PORTS. None lets whoever is trusted reach all
	// Targets, and nobody anything with Socks5. Field "allow-target".
	AllowTargets []string

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
	if _, err := parseNamed("target", o.Targets); err != nil {
		return err
	}
	for _, e := range o.Entrances() {
		if err := e.Validate(); err != nil {
			return err
		}
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
	if err := o.validateTargets(); err != nil {
		return err
	}
	if o.Target == Bench && (o.ProxyProtocol != "" || o.Check != "") {
		return fieldError("target", "{target} %s has no use for {proxy-protocol} and {check}", Bench)
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
	return o.validateChecks()
}

// TargetCheck is what Check says of a service, or nil if there is none.
func (o Outlet) TargetCheck(of Target) (*portal.Check, error) {
	if o.Check == "" {
		return nil, nil
	}
	if of.HasNoAddress() {
		return nil, fieldError("check", "{check} stands with {target} %s, which is nowhere to be "+
			"looked for", of.Text)
	}
	if of.IsUDP() && !strings.HasPrefix(o.Check, "http://") {
		return nil, fieldError("check", "{check} %s: nothing tells whether somebody listens for "+
			"datagrams; {check} http://HOST:PORT/PATH asks a service that does tell", o.Check)
	}
	if of.IsUDP() && strings.HasPrefix(o.Check, "http:///") {
		return nil, fieldError("check", "{check} %s: beside a {target} of udp:// it takes a host: "+
			"http://HOST:PORT/PATH", o.Check)
	}
	c, err := portal.ParseCheck(o.Check, of.Address)
	if err != nil {
		return nil, fieldError("check", "{check}: %w", err)
	}
	c.Interval = o.CheckInterval
	return c, nil
}

// Bench, as Target, is a service that the outlet has itself, for sp bench: see
// portal.DialMeasured.
const Bench = "bench:"

// ServiceName is the name by which the node has the service: PlainName, in the form that services
// of datagrams have if it is one.
func (o Outlet) ServiceName() string {
	if o.IsUDP() {
		return route.DatagramsPrefix + o.PlainName()
	}
	return o.PlainName()
}

// PlainName is Service with its default filled in.
func (o Outlet) PlainName() string {
	switch {
	case o.Service != "":
		return o.Service
	case o.Socks5:
		return route.ConnectName
	}
	return route.OutletName
}

// hasReservedPrefix tells whether names that begin so are services that nodes have themselves.
func hasReservedPrefix(name string) bool {
	return strings.HasPrefix(name, route.ForwardPrefix) ||
		strings.HasPrefix(name, route.DatagramsPrefix)
}

// IsUDP tells whether the service is sent datagrams.
func (o Outlet) IsUDP() bool { return transport.IsUDP(o.Target) }

// IsOnce tells whether the outlet is for one connection.
func (o Outlet) IsOnce() bool { return o.Once || o.Target == Stdio }

const (
	tlsPrefix  = "tls://"
	execPrefix = "exec:"
)

// parseTarget reads what Target may hold. The zero Address is Stdio, or Bench.
func parseTarget(field, text string) (a Address, isTLS bool, err error) {
	bare, isTLS := strings.CutPrefix(text, tlsPrefix)
	switch {
	case text == "":
		return a, false, fieldError(field, "{"+field+"} is missing: where is the service?")
	case text == Stdio, text == Bench:
		return a, false, nil
	case strings.HasPrefix(bare, execPrefix):
		return a, false, fieldError(field, "{"+field+"} %q: an outlet runs no programs, for whoever "+
			"reaches it would give them their input; have systemd (Accept=yes), inetd or socat run it, "+
			"or use {target} - as the program's stdin and stdout", text)
	case isTLS && (strings.HasPrefix(bare, ":") || transport.HasScheme(bare)):
		return a, isTLS, fieldError(field, "{"+field+"} %q: TLS takes the name that the service's "+
			"certificate is for: tls://host:port", text)
	}
	parse := transport.ParseTarget
	if transport.IsUDP(text) {
		parse = transport.ParseUDP
	}
	a, err = parse(bare, loopback)
	if err == nil {
		err = transport.Impossible(a)
	}
	if err != nil {
		return a, isTLS, fieldError(field, "{"+field+"}: %w", err)
	}
	return a, isTLS, nil
}

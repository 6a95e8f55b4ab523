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

	// Target is the service: host:port or unix:PATH. No host is loopback. Field "target".
	Target string

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

// ServiceName is Service with its default filled in.
func (o Outlet) ServiceName() string {
	if o.Service == "" {
		return route.OutletName
	}
	return o.Service
}

// TargetAddress is where Target says.
func (o Outlet) TargetAddress() (Address, error) {
	if o.Target == "" {
		return Address{}, fieldError("target", "{target} is missing: where is the service?")
	}
	a, err := transport.ParseTarget(o.Target, loopback)
	if err == nil {
		err = transport.Impossible(a)
	}
	if err != nil {
		return a, fieldError("target", "{target}: %w", err)
	}
	return a, nil
}

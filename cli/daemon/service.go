package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/portal/udp"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/transport"
)

// maxCASize is how large a file of certificates may be: those of a system have a quarter of that.
const maxCASize = 1 << 20

// service is the part of an outlet that dials the target, under a name of the node.
type service struct {
	site   *site
	config config.Outlet
	outlet *portal.Outlet // once it has been started

	stop     context.CancelFunc // ends checking
	checking sync.WaitGroup
	checks   map[*portal.Check]string // and the names by which inlets ask for what they check
}

func (s *site) planService(o config.Outlet) planned {
	name := o.Name
	o.Entrance, o.Service = config.Entrance{}, o.PlainName() // the rest is the service
	if len(o.Targets) > 0 {
		o.Name = name // a part of theirs
	}
	return planned{
		key:  keyOf(serviceKey(o.ServiceName()), o),
		make: func() part { return &service{site: s, config: o} },
	}
}

// serviceKey begins the key of every service of a name, whatever its target.
func serviceKey(name string) string { return "service " + name + " " }

func (v *service) start(context.Context) error {
	targets, err := v.config.AllTargets()
	if err != nil {
		return err
	}
	outlet := &portal.Outlet{
		ProxyProtocol: v.config.ProxyProtocol != "",
		Track: func(app route.Conn, target string) portal.Follower {
			one := v.site.open.begin(v, v.config.Target, app, nil)
			if v.config.IsChosen() {
				one.Leads(target)
			}
			return one
		},
		ConnectTimeout: v.site.config.ConnectTimeout, Logger: v.site.logger,
		Log:  v.site.options.LogConnections,
		Once: v.config.IsOnce(),
	}
	if v.config.IsOnce() {
		outlet.Ended = v.ended
	}
	if err := v.choose(outlet, targets); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	v.stop = stop
	for c, name := range v.checks {
		c.Logger = v.site.logger
		v.checking.Go(func() { c.Run(ctx) })
		v.checking.Go(func() { v.site.health.follow(ctx, c, name) })
	}
	v.outlet = outlet
	v.site.main.node.HandleBasics()
	v.site.main.node.Offer(v.config.ServiceName(), route.Service{
		Handler: outlet.Serve, Admit: outlet.Admits,
	})
	return nil
}

// choose has an outlet lead each stream to one of the services.
func (v *service) choose(outlet *portal.Outlet, targets []config.Target) error {
	rules, err := v.config.Rules()
	if err != nil {
		return err
	}
	if v.config.Socks5 {
		outlet.Choose = portal.Anywhere{Rules: rules, Timeout: v.site.config.ConnectTimeout}
		return nil
	}
	byName, byServerName := make(map[string]portal.Service), make(map[string]portal.Service)
	var one *portal.Service
	for _, t := range targets {
		s, err := v.service(t)
		if err != nil {
			return err
		}
		switch {
		case t.Name == "":
			one = &s
		case len(v.config.ServerNames) > 0:
			byServerName[t.Name] = s
		default:
			byName[v.config.NameOf(t)] = s
		}
	}
	switch {
	case len(byName) > 0:
		outlet.Choose = portal.ByName{Services: byName, Rules: rules}
	case len(byServerName) > 0:
		outlet.Choose = portal.ByServerName{Services: byServerName, Default: one, Rules: rules}
	default:
		outlet.Target, outlet.Dial = targets[0].Address, one.Dial
		outlet.TLS, outlet.Check = one.TLS, one.Check
	}
	return nil
}

// service returns one of the services, which has its own check if there are some.
func (v *service) service(t config.Target) (s portal.Service, err error) {
	s.Target = t.Text
	if t.Text == config.Stdio {
		s.Dial = func(context.Context) (net.Conn, error) { return v.site.options.Stdio(), nil }
	} else if t.Text == config.Bench {
		s.Dial = portal.DialMeasured
	} else if !t.IsUDP() { // an outlet dials datagrams itself
		s.Dial = portal.DialTarget(t.Address, v.site.config.ConnectTimeout)
		s.Target = transport.Format(t.Address)
	}
	if t.TLS {
		if s.TLS, err = targetTLS(v.config, t.Address); err != nil {
			return s, err
		}
	}
	if s.Check, err = v.config.TargetCheck(t); err != nil || s.Check == nil {
		return s, err
	}
	if v.checks == nil {
		v.checks = make(map[*portal.Check]string)
	}
	v.checks[s.Check] = v.nameOf(t)
	return s, nil
}

// nameOf is the name that inlets ask for to reach a service, and empty if that does not tell it
// from others.
func (v *service) nameOf(t config.Target) string {
	if len(v.config.Targets) > 0 {
		return v.config.NameOf(t)
	}
	return ""
}

// targetTLS is how a service is spoken to in TLS: it is verified, whatever it is.
func targetTLS(o config.Outlet, target config.Address) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(transport.Format(target))
	if err != nil {
		return nil, err
	}
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if o.TargetCA == "" {
		// Now: it cannot be read any more when the process is confined.
		c.RootCAs, err = x509.SystemCertPool()
		return c, err
	}
	if c.RootCAs, err = readTargetCA(o.TargetCA); err != nil {
		return nil, fmt.Errorf("--target-ca %w", err)
	}
	return c, nil
}

// tryTargetTLS tells why a target of a configuration could not be verified.
func tryTargetTLS(c config.Config) error {
	for _, o := range c.Outlets {
		if o.TargetCA == "" {
			continue
		}
		if _, err := readTargetCA(o.TargetCA); err != nil {
			return fmt.Errorf("--target-ca %w", err)
		}
	}
	return nil
}

func readTargetCA(path string) (*x509.CertPool, error) {
	text, _, err := atomicfile.Read(path, maxCASize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: there is no certificate in it, in PEM", path)
	}
	return roots, nil
}

// to says where connections lead, as the configuration does.
func (v *service) to() string {
	o := v.config
	switch {
	case o.Socks5:
		return strings.Join(o.AllowTargets, ", ")
	case !o.IsChosen():
		return o.Target
	}
	all := append(slices.Clone(o.Targets), o.ServerNames...)
	if o.Target != "" {
		all = append(all, o.Target)
	}
	return strings.Join(all, ", ")
}

// ended tells how the one connection of an outlet has ended.
func (v *service) ended(err error) {
	v.site.notify(Event{
		Kind: Ended, Identifier: v.site.self.Identifier(), Err: err,
		Portal: PortalStatus{Kind: OutletKind, Name: v.config.ServiceName()},
	})
}

// stopListening has no listener to close. Of datagrams nothing is waited for that is not on its
// way.
func (v *service) stopListening() {
	for _, app := range v.site.open.of(v) {
		if flow, ok := app.(*udp.Conn); ok {
			flow.EndWhenQuiet()
		}
	}
}

// withdraw is not for a service that another takes the place of: that one does it by starting.
func (v *service) withdraw() { v.site.main.node.Withdraw(v.config.ServiceName()) }

// end first stops the check: another service may have taken this one's place, with a target that is
// well.
func (v *service) end(ctx context.Context) {
	v.stopListening()
	v.stop()
	v.checking.Wait()
	cut(v.site.open.await(ctx, v.site.open.of(v)))
}

func (v *service) state() partState {
	return partState{up: true, connections: v.site.open.number(v)}
}

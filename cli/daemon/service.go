package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/internal/atomicfile"
	"github.com/secureportal/sp/portal"
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
}

func (s *site) planService(o config.Outlet) planned {
	o.Entrance, o.Service = config.Entrance{}, o.ServiceName() // the rest is the service
	return planned{
		key:  keyOf(serviceKey(o.Service), o),
		make: func() part { return &service{site: s, config: o} },
	}
}

// serviceKey begins the key of every service of a name, whatever its target.
func serviceKey(name string) string { return "service " + name + " " }

func (v *service) start(context.Context) error {
	target, err := v.config.TargetAddress()
	if err != nil {
		return err
	}
	check, err := v.config.TargetCheck()
	if err != nil {
		return err
	}
	v.check(check)
	outlet := &portal.Outlet{
		Target: target, Check: check, ProxyProtocol: v.config.ProxyProtocol != "",
		Track: func(app route.Conn) portal.Follower {
			return v.site.open.begin(v, v.config.Target, app, nil)
		},
		ConnectTimeout: v.site.config.ConnectTimeout, Logger: v.site.logger,
		Log:  v.site.options.LogConnections,
		Once: v.config.IsOnce(),
	}
	if v.config.IsOnce() {
		outlet.Ended = v.ended
	}
	if v.config.Target == config.Stdio {
		outlet.Dial = func(context.Context) (net.Conn, error) { return v.site.options.Stdio(), nil }
	}
	if v.config.Target == config.Bench {
		outlet.Dial = portal.DialMeasured
	}
	if v.config.IsTLS() {
		if outlet.TLS, err = targetTLS(v.config, target); err != nil {
			return err
		}
	}
	v.outlet = outlet
	v.site.main.node.HandleBasics()
	v.site.main.node.Handle(v.config.Service, outlet.Serve)
	return nil
}

// check has a check run, if there is one, until the service ends.
func (v *service) check(c *portal.Check) {
	ctx, stop := context.WithCancel(context.Background())
	v.stop = stop
	if c == nil {
		return
	}
	c.Logger = v.site.logger
	v.checking.Go(func() { c.Run(ctx) })
	v.checking.Go(func() { v.site.health.follow(ctx, c) })
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
	text, _, err := atomicfile.Read(o.TargetCA, maxCASize)
	if err != nil {
		return nil, fmt.Errorf("--target-ca %s: %w", o.TargetCA, err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--target-ca %s: there is no certificate in it, in PEM", o.TargetCA)
	}
	return c, nil
}

// ended tells how the one connection of an outlet has ended.
func (v *service) ended(err error) {
	v.site.notify(Event{
		Kind: Ended, Identifier: v.site.self.Identifier(), Err: err,
		Portal: PortalStatus{Kind: OutletKind, Name: v.config.Service},
	})
}

func (v *service) stopListening() {}

// withdraw is not for a service that another takes the place of: that one does it by starting.
func (v *service) withdraw() { v.site.main.node.Withdraw(v.config.Service) }

// end first stops the check: another service may have taken this one's place, with a target that is
// well.
func (v *service) end(ctx context.Context) {
	v.stop()
	v.checking.Wait()
	cut(v.site.open.await(ctx, v.site.open.of(v)))
}

func (v *service) state() partState {
	return partState{up: true, connections: v.site.open.number(v)}
}

package daemon

import (
	"context"
	"sync"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
)

// service is the part of an outlet that dials the target, under a name of the node.
type service struct {
	site   *site
	config config.Outlet

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
		Log: v.site.options.LogConnections,
	}
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

func (v *service) stopListening() {}

// withdraw is not for a service that another takes the place of: that one does it by starting.
func (v *service) withdraw() { v.site.main.node.Withdraw(v.config.Service) }

func (v *service) end(ctx context.Context) {
	cut(v.site.open.await(ctx, v.site.open.of(v)))
	v.stop()
	v.checking.Wait()
}

func (v *service) state() partState {
	return partState{up: true, connections: v.site.open.number(v)}
}

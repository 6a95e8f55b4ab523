package daemon

import (
	"context"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
)

// service is the part of an outlet that dials the target, under a name of the node.
type service struct {
	site   *site
	config config.Outlet
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
	outlet := &portal.Outlet{
		Target: target, ProxyProtocol: v.config.ProxyProtocol != "",
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

func (v *service) stopListening() {}

// withdraw is not for a service that another takes the place of: that one does it by starting.
func (v *service) withdraw() { v.site.main.node.Withdraw(v.config.Service) }

func (v *service) end(ctx context.Context) {
	cut(v.site.open.await(ctx, v.site.open.of(v)))
}

func (v *service) state() partState {
	return partState{up: true, connections: v.site.open.number(v)}
}

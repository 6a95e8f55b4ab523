package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay/homes"
)

// report is what there is to tell of a portal.
func (p *running) report() PortalReport {
	now := p.status()
	r := PortalReport{
		Config: now.Config, Kind: now.Kind, Name: now.Name, Address: now.Address, Ready: now.Ready,
		Error: errorText(now.Err), Connections: now.Connections,
	}
	parts, _ := p.snapshot()
	for _, part := range parts {
		addPart(&r, part)
	}
	return r
}

// addPart adds what a part knows.
func addPart(r *PortalReport, p part) {
	switch p := p.(type) {
	case *service:
		r.To = p.to()
		if err := p.outlet.TargetError(); err != nil && r.Error == "" {
			r.Error = "the last connection did not reach the target: " + err.Error()
		}
	case *registration:
		now := p.state()
		r.Claims = append(r.Claims, Claim{
			Name: p.config.Name, Relay: p.relay, Held: now.up, Error: errorText(now.err),
			At: reportHomes(p.claims),
		})
	case *forwarder:
		for _, inner := range p.parts {
			addPart(r, inner)
		}
	case *inlet:
		if p.paths == nil {
			return
		}
		for _, path := range p.paths.Paths() {
			r.Paths = append(r.Paths, reportPath(path))
		}
	}
}

// reportHomes is where a name is claimed. There may be nothing that claims it yet.
func reportHomes(o *homes.Outlet) (all []Home) {
	if o == nil {
		return nil
	}
	for _, h := range o.Homes() {
		home := Home{Held: h.Held, Error: errorText(h.Err)}
		if hops := route.Hops(h.Relay); len(hops) > 0 {
			home.Relay = hops[len(hops)-1].Where
		}
		if !h.Held {
			home.Lost = time.Since(h.Lost).Seconds()
		}
		all = append(all, home)
	}
	return all
}

func reportPath(p route.Path) PathReport {
	r := PathReport{
		Route: route.Format(p.Route), Hops: []string{}, Up: p.Up, Taken: p.Taken,
		Since: time.Since(p.Since).Seconds(), Error: errorText(p.Err),
	}
	for _, hop := range route.Hops(p.Route) {
		r.Hops = append(r.Hops, plainName(hop.Where))
	}
	if p.Session != nil {
		if took, ok := p.Session.RoundTrip(); ok {
			r.RoundTrip = took.Seconds()
		}
	}
	if p.Direct.At.IsValid() {
		r.Direct = p.Direct.At.String()
	} else {
		r.NotDirect = errorText(p.Direct.Err)
	}
	return r
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// pingPaths asks the far ends of inlets' paths how far away they are: their sessions remember it.
func pingPaths(ctx context.Context, portals []*running) {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	var asking sync.WaitGroup
	defer asking.Wait()
	asked := make(map[*channel.Session]bool)
	for _, p := range portals {
		parts, _ := p.snapshot()
		for _, part := range parts {
			i, ok := part.(*inlet)
			if !ok || i.paths == nil {
				continue
			}
			for _, path := range i.paths.Paths() {
				if s := path.Session; s != nil && !asked[s] && len(asked) < maxPings {
					asked[s] = true
					asking.Go(func() { _, _ = s.Ping(ctx) })
				}
			}
		}
	}
}

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
)

// examineName goes to a relay as an outlet does that is to have a name there, and finds out who has
// it.
func (d *doctor) examineName(to route.Route, name string) {
	d.ok("route", "%s", route.Format(to))
	own := d.config.Trust
	d.config.Trust.Allow = d.call.list("relay-identity")
	d.config.Trust.AllowAnyone = len(d.config.Trust.Allow) == 0
	if !d.begin() {
		return
	}
	well := d.examineEntrance(to[0]) && d.examineHops(to) && d.examineRelay(to)
	_ = d.node.Close()
	if !well {
		d.skip("name", "the relay comes first")
		return
	}
	d.config.Trust = own
	if d.begin() {
		defer d.node.Close()
		d.examineHolder(route.ThroughRelay(to, name), name)
	}
}

// examineRelay makes the channel in which names are claimed.
func (d *doctor) examineRelay(to route.Route) bool {
	secure := append(slices.Clone(to), route.Address{Kind: route.KindSecure, Name: route.SecureName})
	register := append(slices.Clone(secure),
		route.Address{Kind: route.KindService, Name: relay.RegisterName})
	ctx, cancel := d.within()
	defer cancel()
	s, err := d.node.Session(ctx, register)
	if err == nil {
		err = d.node.Probe(ctx, register)
	}
	if errors.Is(err, channel.ErrRefusedByPeer) {
		err = advise(err, "start the relay with --allow %s; its log says why it refuses", d.self)
	}
	if err != nil {
		d.fail("relay", err)
		return false
	}
	d.ok("relay", "it is %s, and lets this side claim names", s.Peer().Identifier())
	return true
}

// examineHolder finds out who has a name, by asking whoever it leads to who he is.
func (d *doctor) examineHolder(to route.Route, name string) {
	ctx, cancel := d.within()
	defer cancel()
	const whatToDo = "choose another name; or end the outlet that has it: its log says where it runs"
	s, err := d.node.Session(ctx, to)
	status, refused := errors.AsType[*route.StatusError](err)
	switch {
	case refused && strings.HasPrefix(status.Missing(), route.ForwardPrefix):
		d.ok("name", "nobody has %s", name)
	case err == nil && s.Peer().Identifier().String() == d.self:
		d.ok("name", "an outlet with this side's identity has %s", name)
	case err == nil:
		taken := route.Refuse(route.CodeNameTaken, fmt.Sprintf("%s has the name %s",
			s.Peer().Identifier(), name))
		d.fail("name", advise(taken, whatToDo))
	case errors.Is(err, trust.ErrNotTrusted) && !errors.Is(err, channel.ErrRefusedByPeer):
		d.fail("name", advise(fmt.Errorf("somebody else has the name %s: %w", name, err), whatToDo))
	default:
		d.fail("name", err)
	}
}

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
)

// examineName goes to a relay as an outlet does that is to have a name there, and finds out who has
// it.
func (d *doctor) examineName(to route.Route, name string) {
	d.ok("route", "%s", route.Format(to))
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
	d.config.Trust = config.Trust{NoFriends: true, Seen: d.config.Trust.Seen}
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

// examineHolder finds out who has a name, by asking whoever it leads to who he is. That is this
// side's identity, or somebody else; whom the outlet lets in, and so whether this side is among
// them, is nothing that an outlet's way to its name depends on, and whom this side trusts neither.
func (d *doctor) examineHolder(to route.Route, name string) {
	ctx, cancel := d.within()
	defer cancel()
	const whatToDo = "choose another name; or end the outlet that has it: its log says where it " +
		"runs; if it is the one that is meant, ask with its --identity"
	_, err := d.node.Session(ctx, to)
	status, missing := errors.AsType[*route.StatusError](err)
	refused, known := errors.AsType[*channel.RefusedError](err)
	switch {
	case missing && strings.HasPrefix(status.Missing(), route.ForwardPrefix):
		d.ok("name", "nobody has %s", name)
	case known && refused.Peer == refused.Self:
		d.ok("name", "an outlet with this side's identity has %s; it lets others in, and not itself",
			name)
	case err == nil: // this side trusts none but itself
		d.ok("name", "an outlet with this side's identity has %s", name)
	case errors.Is(err, trust.ErrNotTrusted) && !errors.Is(err, channel.ErrRefusedByPeer):
		d.fail("name", advise(fmt.Errorf("somebody else has the name %s: %w", name, err), whatToDo))
	default:
		d.fail("name", err)
	}
}

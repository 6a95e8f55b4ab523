package cli

import (
	"errors"
	"net"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
)

// registerFlags are those of a role that can be reached through a relay.
func registerFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "relay", Usage: "be reached through this relay: host:port or a `ROUTE` to it; repeatable"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` to claim on the relay"},
		&cli.StringSliceFlag{
			Name: "relay-identity", Category: whoCategory,
			Usage: "the relay must have this `IDENTIFIER`; repeatable; without it, this side's own",
		},
		&cli.BoolFlag{Name: "mux", Usage: "make no spare connections to the relays, at the cost of speed"},
		&cli.BoolFlag{Name: "no-wait", Usage: "fail at once if a relay does not answer or refuses the name"},
	}
}

func relayCommand() *cli.Command {
	return &cli.Command{
		Name:        "relay",
		Usage:       "join inlets with outlets that dialed out to it; it sees only ciphertext",
		UsageText:   "sp relay --listen [HOST]:PORT",
		Description: "When it listens, the relay prints its address, and nothing else.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "`WHERE` inlets and outlets connect: [host]:port or unix:PATH; no host is every interface"},
		}, registerFlags(), servingFlags(), relayLimitFlags()),
		Action: need(runRelay, "listen"),
	}
}

func runRelay(c *cli.Context) error {
	where, err := parseServing(c)
	if err != nil {
		return err
	}
	r, err := newRole(c, roleOptions{forAnybody: true})
	if err != nil {
		return err
	}
	defer r.node.Close()
	relay.NewServer(r.node, registryConfig(c))
	return r.serve(c, where, func(l net.Listener) string { return describe(l) })
}

// checkServing checks what the roles that can register with relays have in common, before anything is made.
func checkServing(c *cli.Context) error {
	relays, named := len(c.StringSlice("relay")) > 0, c.String("name") != ""
	switch {
	case relays && !named:
		return usage(c, "--relay stands without --name")
	case named && !relays:
		return usage(c, "--name stands without --relay")
	}
	return errors.Join(noArguments(c), checkDurations(c))
}

// parseServing checks the flags of a role that listens for links.
func parseServing(c *cli.Context) (place, error) {
	if err := checkServing(c); err != nil {
		return place{}, err
	}
	where, err := parsePlace(c.String("listen"), "", false)
	if err != nil {
		return place{}, usage(c, "--listen: %w", err)
	}
	return where, nil
}

// claimOnce tries with --no-wait whether the relays are there and give the name.
func claimOnce(c *cli.Context, registrars []*relay.Client) error {
	if !c.Bool("no-wait") {
		return nil
	}
	for _, g := range registrars {
		ctx, cancel := timeoutContext(c)
		defer cancel()
		if err := g.Try(ctx); err != nil {
			return relayRefused(err)
		}
	}
	return nil
}

// relayRefused says what to do about a relay that this side does not trust.
func relayRefused(err error) error {
	if errors.Is(err, trust.ErrNotTrusted) && !errors.Is(err, channel.ErrRefusedByPeer) {
		return withHint(err, "name the relay's Identifier with --relay-identity, if it is the one you mean")
	}
	return err
}

// registrars returns what keeps the claims that the flags ask for, and what ends the node that dials the relays: it
// trusts the relays' identities, and the role's own node those of the inlets.
func (r *role) registrars(c *cli.Context) ([]*relay.Client, func(), error) {
	relays := c.StringSlice("relay")
	if len(relays) == 0 {
		return nil, func() {}, nil
	}
	allow, err := parseIdentifiers(c, "relay-identity")
	if err != nil {
		return nil, nil, err
	}
	trust, err := newPolicy(trust.Config{
		Self: r.self.Identifier(), Allow: allow, Deny: r.trust.Deny, DenyFiles: r.trust.DenyFiles, Known: r.trust.Known,
	})
	if err != nil {
		return nil, nil, err
	}
	config := r.config
	config.Channel.Trust = trust
	config.Forward = nil
	config.Hint = func(err error) string { return hintFor(relayRefused(err)) }
	dialer, err := r.newNode(config, trust)
	if err != nil {
		return nil, nil, err
	}
	var all []*relay.Client
	for _, text := range relays {
		to, err := parseRelay(text)
		if err == nil {
			g := &relay.Client{Relay: to, Name: c.String("name"), Dial: dialer, Serve: r.node, MuxOnly: c.Bool("mux")}
			err = g.Check()
			all = append(all, g)
		}
		if err != nil {
			_ = dialer.Close()
			return nil, nil, usage(c, "--relay %q: %w", text, err)
		}
	}
	return all, func() { _ = dialer.Close() }, nil
}

// parseRelay reads host:port, or a route that leads to the relay's node.
func parseRelay(text string) (route.Route, error) {
	if len(text) > 0 && text[0] == '/' {
		return route.Parse(text)
	}
	a, err := transport.Parse(text)
	return route.Route{a}, err
}

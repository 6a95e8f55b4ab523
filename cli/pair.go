package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/confine"
	"github.com/secureportal/sp/route"
)

const (
	defaultPairTime = 10 * time.Minute

	// pairDrain is how long the end of the meeting may take to reach the other one.
	pairDrain = 5 * time.Second

	// pairNameBytes keep two pairings on one relay apart. The name is no secret.
	pairNameBytes = 8
	pairPrefix    = "pair-"
)

// errNotPaired is the end of a meeting that was not about the code.
var errNotPaired = errors.New("somebody who was trusted before has come in between")

// errNobodyMet is the end of a code's time.
var errNobodyMet = errors.New("the other side has not come")

func pairCommand() *cli.Command {
	return &cli.Command{
		Name:  "pair",
		Usage: "introduce two machines, which trust each other from then on",
		UsageText: "sp pair --relay HOST:PORT\n" +
			"sp pair --listen [HOST]:PORT [--at HOST:PORT]\n" +
			"sp pair CODE|FILE|-",
		ArgsUsage: "[CODE|FILE|-]",
		Description: "One side prints the command for the other, which can be used once. Then each " +
			"side has the other\namong its user's friends, and prints the other's Identifier. Roles " +
			"that name nobody else trust\nfriends as they trust their own identity: to reach what " +
			"this user's outlets offer, and to be what\nthis user's inlets ask for. Whom that is too " +
			"much for goes into an --allow-file of its own.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringSliceFlag{
				Name:  "relay",
				Usage: "meet the other side at this relay: host:port or a `ROUTE` to it",
			},
			&cli.StringFlag{
				Name:  "listen",
				Usage: "meet it here: `WHERE` to listen, as sp outlet does",
			},
			&cli.StringFlag{
				Name:        "at",
				Usage:       "`ADDRESS` by which the other side reaches --listen: host:port, or a route to it",
				DefaultText: "one of this machine's",
			},
			&cli.BoolFlag{
				Name: "one-way",
				Usage: "only the side that prints the command trusts the other one, as a relay does " +
					"who is to claim names there",
			},
			&cli.DurationFlag{
				Name: "timeout", Value: defaultPairTime, Category: timeCategory,
				Usage: "how long to wait for the other side; the code is worth nothing afterwards",
			},
			&cli.StringFlag{
				Name: "allow-file", Category: whoCategory, TakesFile: true,
				Usage:       "have the other side in this `FILE`; it goes with --identity",
				DefaultText: "the friends",
			},
		}, certificateFlags(), loggingFrom("error", withoutTrust(nodeFlags(ownKeyText)))),
		Action: action(runPair),
	}
}

// withoutTrust returns flags but for those that say whom to trust, which here a ticket does.
func withoutTrust(flags []cli.Flag) []cli.Flag {
	var names []string
	for _, f := range trustFlags() {
		names = append(names, f.Names()[0])
	}
	return without(flags, names...)
}

// pairing is how two sides meet, seen from one of them.
type pairing struct {
	call    *call
	list    string // that the other side goes into
	options daemon.Options
	node    config.Node

	mu    sync.Mutex
	other identity.Identifier // zero until it is known
}

func runPair(c *call) error {
	p := &pairing{call: c, node: nodeConfig(c)}
	var err error
	if p.list, err = pairList(c); err != nil {
		return err
	}
	if p.options, err = daemonOptions(c); err != nil {
		return err
	}
	p.options.WriteIn = confine.Folders(p.list)
	p.options.Stdio = func() net.Conn { return newStdio(strings.NewReader(""), io.Discard) }
	p.node.Drain = pairDrain
	offers := c.has("relay") || c.has("listen")
	switch {
	case len(c.args) > 0 && (offers || c.has("at")):
		return usage("a code to use, and --relay, --listen or --at to make one: which is it?")
	case len(c.args) > 0:
		return p.accept()
	case !offers:
		return usage("neither a code, nor --relay or --listen to make one")
	case c.has("relay") && c.has("listen"):
		return usage("--relay and --listen: where do the two meet?")
	case c.has("at") && !c.has("listen"):
		return usage("--at stands without --listen")
	}
	return p.offer()
}

// pairList returns which file the other side goes into.
func pairList(c *call) (string, error) {
	switch list := c.text("allow-file"); {
	case list != "":
		return list, nil
	case c.text("identity") != "":
		return "", withHint(usage("--identity stands without --allow-file"),
			"friends are those of the user's own identity: name a file for others")
	}
	if err := identity.MakePublicFolder(); err != nil {
		return "", err
	}
	return identity.FriendsPath()
}

// offer prints a code, and waits for who has it.
func (p *pairing) offer() error {
	if err := trust.MakeAllowFile(p.list); err != nil {
		return err
	}
	p.node.Trust.AllowFiles = []string{p.list}
	name := make([]byte, pairNameBytes)
	_, _ = rand.Read(name) // it never fails
	out := config.Outlet{
		Entrance: config.Entrance{
			Listen: p.call.text("listen"), Relays: p.call.list("relay"),
			Name: pairPrefix + hex.EncodeToString(name), NoWait: true,
		},
		Target: config.Stdio,
	}
	if _, err := p.meetingPlace(out, daemon.Event{}); err != nil {
		return err
	}
	failed := make(chan error, 1)
	p.options.Notify = func(e daemon.Event) {
		switch e.Kind {
		case daemon.Ready:
			if err := p.sayCode(out, e); err != nil {
				failed <- err
			}
		case daemon.TicketSpent:
			p.meets(e.Peer)
		}
	}
	all := config.Config{Node: p.node, Outlets: []config.Outlet{out}}
	if err := p.run(all, failed); err != nil {
		return err
	}
	if p.others().IsZero() {
		return withHint(errNotPaired, "start again")
	}
	return p.sayPaired()
}

// sayCode prints the command for the other side.
func (p *pairing) sayCode(out config.Outlet, e daemon.Event) error {
	place, err := p.meetingPlace(out, e)
	if err != nil {
		return err
	}
	signer, err := loadSigner(p.call.text("identity"))
	if err != nil {
		return err
	}
	timeout := p.call.duration("timeout")
	ticket, err := signer.Ticket(rand.Reader, place, time.Now().Add(timeout))
	if err != nil {
		return err
	}
	flag := ""
	if p.call.yes("one-way") {
		flag = "--one-way "
	}
	say(p.call.stdout, "sp pair %s%s", flag, ticket)
	say(p.call.stderr, "sp: hint: run that on the other machine within %v; until then it is a secret",
		timeout)
	return nil
}

// meetingPlace returns the route to who offers a code.
func (p *pairing) meetingPlace(out config.Outlet, e daemon.Event) (string, error) {
	if at := p.call.text("at"); at != "" {
		to, err := config.ParseRelay(at)
		if err != nil {
			return "", usage("--at %q is no address: host:port, or a route to it", at)
		}
		return route.Format(route.ThroughRelay(to, out.Name)), nil
	}
	return first(routesTo(out.Entrance, e.Portal)), nil
}

// accept meets who has made a code.
func (p *pairing) accept() error {
	text, err := p.call.oneArgument("CODE")
	if err != nil {
		return err
	}
	ticket, err := validTicket(text, p.call.stdin)
	if err != nil {
		return err
	}
	if err := p.isAnother(ticket); err != nil {
		return err
	}
	if !p.call.yes("one-way") {
		if err := trust.MakeAllowFile(p.list); err != nil {
			return err
		}
	}
	p.meets(ticket.Issuer())
	p.node.Ticket = ticket.String()
	in := config.Inlet{Listen: config.Stdio, To: []string{ticket.Route()}, NoWait: true}
	p.options.Notify = func(daemon.Event) {}
	all := config.Config{Node: p.node, Inlets: []config.Inlet{in}}
	if err := p.run(all, nil); err != nil {
		return err
	}
	if p.call.yes("one-way") {
		say(p.call.stdout, "%s", ticket.Issuer())
		return nil
	}
	comment := "# paired " + time.Now().UTC().Format(time.RFC3339)
	if err := trust.AddToAllowFile(p.list, ticket.Issuer(), comment); err != nil {
		return err
	}
	return p.sayPaired()
}

// isAnother refuses a code of this side's own identity.
func (p *pairing) isAnother(ticket *identity.Ticket) error {
	path := p.node.Identity
	if path == "" {
		var err error
		if path, err = identity.DefaultPath(); err != nil {
			return err
		}
	}
	self, err := identity.Load(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && self.Identifier() == ticket.Issuer() {
		err = withHint(invalid(errors.New("both sides have the same key")),
			"they trust each other as it is; for a key of its own, make one there with "+
				"sp identity create FILE")
	}
	return err
}

func (p *pairing) meets(other identity.Identifier) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.other = other
}

func (p *pairing) others() identity.Identifier {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.other
}

// run runs what has one connection until that has ended, or nobody has come for long enough.
func (p *pairing) run(all config.Config, failed <-chan error) error {
	timeout := p.call.duration("timeout")
	nobody := fmt.Errorf("%w within %v", errNobodyMet, timeout)
	ctx, cancel := context.WithTimeoutCause(p.call.ctx, timeout, nobody)
	defer cancel()
	over, end := context.WithCancelCause(ctx)
	defer end(nil)
	one := watchOne(&p.options, func() { end(nil) })
	d, endStatus, err := startDaemon(p.call, []daemon.Named{{Config: all}}, p.options)
	if err != nil {
		return err
	}
	defer endStatus()
	select {
	case <-over.Done():
	case err := <-failed:
		return errors.Join(err, d.Close())
	}
	if p.call.ctx.Err() != nil {
		return errors.Join(d.Close(), daemon.ErrStopped)
	}
	if cause := context.Cause(ctx); cause != nil {
		return errors.Join(cause, d.Close())
	}
	if err := d.Shutdown(); err != nil {
		return err
	}
	return one.result(false)
}

// sayPaired prints who the other side is, and where that stands.
func (p *pairing) sayPaired() error {
	list := p.list
	if path, err := filepath.Abs(list); err == nil {
		list = path
	}
	say(p.call.stdout, "%s", p.others())
	say(p.call.stderr, "sp: hint: %s has it: whoever is taken out of there is not trusted any more",
		list)
	return nil
}

package cli

import (
	"bufio"
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
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/cli/daemon"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/confine"
	"github.com/secureportal/sp/internal/textfile"
	"github.com/secureportal/sp/route"
)

const (
	defaultPairTime = 10 * time.Minute

	// pairDrain is how long the end of the meeting may take to reach the other one.
	pairDrain = 5 * time.Second

	// pairNameBytes keep two meetings on one relay apart. The name is no secret.
	pairNameBytes = 8

	// pairPrefix and pairOneWayPrefix begin the name that a meeting has in the route of its ticket,
	// which is signed: that the ticket is for a meeting, and for which kind.
	pairPrefix       = "pair-"
	pairOneWayPrefix = "pair1-"

	// pairCommandText is what stands before the code in the line that is printed.
	pairCommandText = "sp pair "
	codePrefix      = "sp-ticket-"
)

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
			"this user's outlets offer, to be what\nthis user's inlets ask for, to claim names on " +
			"this user's relays, and to be forwarded by bridges.\nWhom that is too much for goes " +
			"into an --allow-file of its own.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{
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
	list    string // that the other side goes into; empty if it goes into none
	options daemon.Options
	node    config.Node

	mu    sync.Mutex
	other identity.Identifier // zero until it is known
}

func runPair(c *call) error {
	p := &pairing{call: c, node: nodeConfig(c)}
	offers := p.text("relay") != "" || p.text("listen") != ""
	switch {
	case len(c.args) > 0 && (offers || p.text("at") != ""):
		return usage("a code to use, and --relay, --listen or --at to make one: which is it?")
	case len(c.args) == 0 && !offers:
		return usage("neither a code, nor --relay or --listen to make one")
	case p.text("relay") != "" && p.text("listen") != "":
		return usage("--relay and --listen: where do the two meet?")
	case p.text("at") != "" && p.text("listen") == "":
		return usage("--at stands without --listen")
	}
	var err error
	if p.options, err = daemonOptions(c); err != nil {
		return err
	}
	p.options.Stdio = func() net.Conn { return newStdio(strings.NewReader(""), io.Discard) }
	p.node.Drain = pairDrain
	if len(c.args) > 0 {
		return p.accept()
	}
	return p.offer()
}

// text is a flag's value on the command line. The variables that stand for these flags are meant
// for roles, and would have a command fail that the other side has printed.
func (p *pairing) text(flag string) string {
	if p.call.given[flag] == 0 {
		return ""
	}
	return p.call.text(flag)
}

// findList finds out which file the other side goes into, and makes it if it is not there.
func (p *pairing) findList() error {
	p.list = p.text("allow-file")
	switch {
	case p.list != "":
	case p.call.text("identity") != "":
		return withHint(usage("--identity stands without --allow-file"),
			"friends are those of the user's own identity: name a file for others")
	default:
		if err := identity.MakePublicFolder(); err != nil {
			return err
		}
		var err error
		if p.list, err = identity.FriendsPath(); err != nil {
			return err
		}
	}
	p.options.WriteIn = append(p.options.WriteIn, confine.Folders(p.list)...)
	return trust.MakeAllowFile(p.list)
}

// offer prints a code, and waits for who has it. Nobody else gets in: the outlet's list is one that
// only the code leads to, and whoever it names goes into the other one when all has gone well.
func (p *pairing) offer() error {
	if err := p.findList(); err != nil {
		return err
	}
	prefix := pairPrefix
	if p.call.yes("one-way") {
		prefix = pairOneWayPrefix
	}
	random := make([]byte, pairNameBytes)
	_, _ = rand.Read(random) // it never fails
	out := config.Outlet{
		Entrance: config.Entrance{
			Listen: p.text("listen"), Name: prefix + hex.EncodeToString(random), NoWait: true,
		},
		Target: config.Stdio,
	}
	if relay := p.text("relay"); relay != "" {
		out.Relays = []string{relay}
	}
	if _, err := p.meetingPlace(out, daemon.Event{}); err != nil {
		return err
	}
	door := filepath.Join(filepath.Dir(p.list), "."+out.Name)
	if err := trust.MakeAllowFile(door); err != nil {
		return err
	}
	defer func() { _ = trust.RemoveAllowFile(door) }() // what is left of it lets nobody in
	p.node.Trust.AllowFiles = []string{door}
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
	err := p.run(config.Config{Node: p.node, Outlets: []config.Outlet{out}}, failed)
	if other := p.met(); err != nil && !other.IsZero() {
		return withHint(err, "%s has used the code, and has not ended well: it is not trusted", other)
	}
	if err != nil {
		return err
	}
	return p.keepPaired()
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
	say(p.call.stdout, "%s%s", pairCommandText, ticket)
	say(p.call.stderr, "sp: hint: run that on the other machine within %v; until then it is a secret",
		timeout)
	return nil
}

// meetingPlace returns the route to who offers a code.
func (p *pairing) meetingPlace(out config.Outlet, e daemon.Event) (string, error) {
	if at := p.text("at"); at != "" {
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
	ticket, err := p.readCode()
	if err != nil {
		return err
	}
	oneWay, err := meetingOf(ticket)
	if err != nil {
		return err
	}
	if !oneWay && !p.call.yes("one-way") {
		if err := p.findList(); err != nil {
			return err
		}
	}
	if err := p.isAnother(ticket); err != nil {
		return err
	}
	p.meets(ticket.Issuer())
	p.node.Ticket = ticket.String()
	p.options.Notify = func(daemon.Event) {}
	in := config.Inlet{Listen: config.Stdio, To: []string{ticket.Route()}, NoWait: true}
	all := config.Config{Node: p.node, Inlets: []config.Inlet{in}}
	if err := p.run(all, nil); err != nil {
		return nobodyWaits(err)
	}
	return p.keepPaired()
}

// nobodyWaits says what it means that whoever has made a code is not where it leads to. Its command
// ends when the code has been used, or its time is over.
func nobodyWaits(err error) error {
	var status *route.StatusError
	meeting := route.ForwardPrefix + strings.TrimSuffix(pairPrefix, "-")
	gone := errors.As(err, &status) && strings.HasPrefix(status.Missing(), meeting)
	if dial := (*route.DialError)(nil); errors.As(err, &dial) {
		gone = errors.Is(err, syscall.ECONNREFUSED)
	}
	if !gone {
		return err
	}
	return withHint(fmt.Errorf("nobody waits with that code: it has been used, or is too old, or the "+
		"command that printed it has ended (%w)", err), "have sp pair print another one there")
}

// readCode reads the code from what a user has given: the code, or a file or stdin with the line
// that was printed. Who pipes that has the pipe open until the two have met.
func (p *pairing) readCode() (*identity.Ticket, error) {
	text, err := p.call.oneArgument("CODE")
	if err != nil {
		return nil, err
	}
	switch {
	case text == fromStdin:
		var r io.Reader
		if r, err = p.call.stdin.take("code"); err == nil {
			text, err = bufio.NewReader(io.LimitReader(r, textfile.MaxSize)).ReadString('\n')
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
	case !strings.HasPrefix(text, codePrefix):
		if text, err = textfile.Read(text); err != nil {
			err = fmt.Errorf("file %s: %w", p.call.args[0], err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("code: %w", err)
	}
	line, _, _ := strings.Cut(text, "\n")
	line = strings.TrimPrefix(strings.TrimSpace(line), pairCommandText)
	ticket, err := identity.ParseTicketText(line)
	if err != nil {
		return nil, invalid(err)
	}
	return ticket, checkTicket(ticket)
}

// meetingOf tells for which kind of meeting a ticket is.
func meetingOf(ticket *identity.Ticket) (oneWay bool, err error) {
	to, err := route.Parse(ticket.Route())
	if err != nil {
		return false, err
	}
	for _, a := range to {
		name, named := strings.CutPrefix(a.Name, route.ForwardPrefix)
		switch {
		case !named || a.Kind != route.KindService:
		case strings.HasPrefix(name, pairOneWayPrefix):
			return true, nil
		case strings.HasPrefix(name, pairPrefix):
			return false, nil
		}
	}
	return false, withHint(invalid(errors.New("that is a ticket, and no code of sp pair")),
		"sp inlet --ticket takes it")
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

func (p *pairing) met() identity.Identifier {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.other
}

// run runs what has one connection until that has ended well, or nobody has come for long enough.
func (p *pairing) run(all config.Config, failed <-chan error) error {
	timeout := p.call.duration("timeout")
	nobody := fmt.Errorf("%w within %v", errNobodyMet, timeout)
	ctx, cancel := context.WithTimeoutCause(p.call.ctx, timeout, nobody)
	defer cancel()
	over, end := context.WithCancel(ctx)
	defer end()
	one := watchOne(&p.options, end)
	bounded := *p.call
	bounded.ctx = ctx
	d, endStatus, err := startDaemon(&bounded, []daemon.Named{{Config: all}}, p.options)
	if err != nil {
		if p.call.ctx.Err() == nil && ctx.Err() != nil {
			return nobody
		}
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
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), d.Close())
	}
	if err := d.Shutdown(); err != nil {
		return err
	}
	return one.result(false)
}

// keepPaired writes down who the other side is, and says it.
func (p *pairing) keepPaired() error {
	other := p.met()
	if p.list != "" {
		comment := "# paired " + time.Now().UTC().Format(time.RFC3339)
		if err := trust.AddToAllowFile(p.list, other, comment); err != nil {
			return err
		}
	}
	say(p.call.stdout, "%s", other)
	if p.list == "" {
		say(p.call.stderr, "sp: hint: it trusts this side now; this side does not trust it")
		return nil
	}
	list := p.list
	if path, err := filepath.Abs(list); err == nil {
		list = path
	}
	paired := "each side trusts the other from now on"
	if p.call.yes("one-way") {
		paired = "this side trusts it from now on"
	}
	say(p.call.stderr,
		"sp: hint: %s; %s has it: whoever is taken out of there is not trusted any more", paired, list)
	return nil
}

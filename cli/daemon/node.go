package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/cli/config"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/portal"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/relay/homes"
	"github.com/secureportal/sp/route/relay/mesh"
	"github.com/secureportal/sp/route/transport"
)

// This file is where nodes, policies, relays and their clients are made: what the rest of the
// package knows of them is in member, and in what these functions return.

// member is a node, and what decides whom it trusts.
type member struct {
	node   *route.Node
	policy *trust.Policy
	dials  bool // nobody reaches it: it makes claims on relays, or meets those of a set

	// tells is what a relay or a bridge knows besides; nil of others, and until that is known.
	tells atomic.Pointer[tells]

	// leave is called before the node shuts down, if it is set: ctx bounds it.
	leave func(ctx context.Context)
}

// tells is what is known of a relay or a bridge.
type tells struct {
	title string                   // what its portal is called
	names func() []relay.Name      // that outlets hold on a relay; nil of a bridge
	nodes func() []mesh.NodeStatus // of the set that a relay is one of; nil of others

	directory func() DirectoryReport // that it is found by; nil of others
}

// titled is what a portal is called.
func titled(kind Kind, name string) string { return string(kind) + " " + name }

// shutdown ends a node when what is open has ended, or ctx has.
func (m *member) shutdown(ctx context.Context) error {
	if m.leave != nil {
		m.leave(ctx)
	}
	return m.node.Shutdown(ctx)
}

// OpenNode makes the node that n describes, for who opens routes and has no portals. Its files
// are read once. The caller closes it.
func OpenNode(n config.Node, o Options) (*route.Node, error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	files, err := filesOf(config.Config{Node: n})
	if err != nil {
		return nil, err
	}
	s, err := newSite(n, files, o, nil, nil)
	if err != nil {
		return nil, err
	}
	return s.main.node, nil
}

// newSite makes a site, and its key if there is none in its file. n is valid. turned gets something
// when a connection has begun or ended, if it has room.
func newSite(
	n config.Node, files selfFiles, o Options, turned chan<- struct{}, sockets *transport.Sockets,
) (*site, error) {
	s := &site{
		turned: turned, sockets: sockets,
		config: n, selfFiles: files, options: o, logger: o.Logger, open: newConnections(),
		changed: func() {}, notify: func(Event) {},
		members: make(map[*member]struct{}), parts: make(map[string]part),
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	if !n.NoDirect {
		s.ports = drawPorts()
	}
	var err error
	if s.ticket, err = n.ParseTicket(); err != nil {
		return nil, err
	}
	if s.trust, err = trustOf(n.Trust); err != nil {
		return nil, err
	}
	if s.trust.Known, err = openSeen(n.Trust.Seen, s.logger); err != nil {
		return nil, err
	}
	if err := s.loadIdentity(); err != nil {
		return nil, err
	}
	if err := s.observeSelf(s.self); err != nil {
		return nil, err
	}
	if s.presented, err = newPresented(s.self, s.key, n.Credentials, s.logger); err != nil {
		return nil, err
	}
	if s.tls, err = newTLSFiles(n, s.logger); err != nil {
		return nil, err
	}
	if s.brokers, _, err = readBrokers(n.BrokersFile); err != nil {
		return nil, err
	}
	if s.proxies, err = newProxies(n, s.logger); err != nil {
		return nil, err
	}
	if s.acme, err = s.newACME(); err != nil {
		return nil, err
	}
	s.trust.Self = s.self.Identifier()
	if s.ticket != nil {
		s.trust.Allow = append(s.trust.Allow, s.ticket.Issuer())
	}
	if s.owner != "" {
		s.trustOwner()
	}
	if s.friends != "" {
		s.trust.AllowLater = append(s.trust.AllowLater, s.friends)
	}
	if s.base, err = s.nodeConfig(); err != nil {
		return nil, err
	}
	s.main, err = s.newMember(s.withTickets(s.trust), false, func(c *route.Config) {
		c.ByName, c.Channel.Survive, c.Direct = true, n.SurviveTime(), !n.NoDirect
	})
	return s, err
}

// loadIdentity loads the key file, and makes it if it is not there.
func (s *site) loadIdentity() error {
	if s.config.Identity != "" {
		// A folder that is not there is a slip of the pen, and not where a key should go.
		if _, err := os.Stat(filepath.Dir(s.key)); err != nil {
			return &Error{Problem: NoFolder, Err: fmt.Errorf("identity file %s: %w", s.key, err)}
		}
	}
	self, created, err := identity.LoadOrCreate(s.key)
	if err != nil && s.config.Identity == "" && isNoPlace(err) {
		err = &Error{Problem: NoKeyPlace, Err: err}
	}
	if err != nil {
		return err
	}
	if created {
		s.logger.Info("made a new identity", "file", s.key, "identifier", self.Identifier())
	}
	s.self = self
	return nil
}

// isNoPlace tells whether a file could not be made for want of a place.
func isNoPlace(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR) ||
		errors.Is(err, syscall.ENAMETOOLONG)
}

// observeSelf remembers the node's own rotations, so that a key that was given up does not open
// its own doors. If it is this node that has such a key, others decide what that is worth.
func (s *site) observeSelf(self *identity.Identity) error {
	err := s.trust.Known.Observe(self.History())
	switch {
	case err == nil:
	case errors.Is(err, trust.ErrOlderHistory), errors.Is(err, trust.ErrForkedHistory):
		s.logger.Warn(
			"this side's key was given up: take the identity file from where it was rotated")
	default:
		return &Error{Problem: OwnRotation, Err: fmt.Errorf("this side's own rotation: %w", err)}
	}
	return nil
}

// nodeConfig is what the site's nodes have in common.
func (s *site) nodeConfig() (route.Config, error) {
	suites, err := s.config.ParseSuites()
	if err != nil {
		return route.Config{}, err
	}
	mode, err := s.config.ParseSocketMode()
	if err != nil {
		return route.Config{}, err
	}
	from, err := s.config.ParseBind()
	return route.Config{
		Channel: channel.Config{
			Identity: s.self, Current: s.presented.identity,
			Credentials: s.presented.list, Ticket: presentTicket(s.ticket), Suites: suites,
			Keepalive: s.config.Keepalive, Activity: new(channel.Activity),
			SessionsPerIdentity: sessionsLimit(s.config.Limits),
		},
		ConnectTimeout: s.config.ConnectTimeout, Limits: limits(s.config.Limits, false),
		SocketMode: mode, Sockets: s.sockets, Audit: s.options.Audit,
		LogForwarded: s.options.LogConnections == portal.LogAll, Logger: s.logger, Hint: s.options.Hint,
		Turned: s.turned,
		TLS:    s.acme.show(s.tls.config()), Brokers: s.brokers,
		Proxy: s.proxies.leadTo, From: from,
		DirectPorts: s.ports,
	}, err
}

// presentTicket returns what has a node present t to the one who issued it.
func presentTicket(t *identity.Ticket) func(identity.Identifier) []byte {
	if t == nil {
		return nil
	}
	return func(peer identity.Identifier) []byte {
		if peer != t.Issuer() {
			return nil
		}
		return t.Bytes()
	}
}

// newMember makes a node that trusts as t says, and differs from the others as change does.
func (s *site) newMember(
	t trust.Config, dials bool, change func(*route.Config),
) (*member, error) {
	policy, err := trust.NewPolicy(t)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Problem: NoListFile, Err: err}
	}
	if err != nil {
		return nil, err
	}
	config := s.base
	config.Channel.Trust = policy
	change(&config)
	node, err := route.NewNode(config)
	if err != nil {
		return nil, err
	}
	m := &member{node: node, policy: policy, dials: dials}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[m] = struct{}{}
	return m, nil
}

// closeMember ends a node at once.
func (s *site) closeMember(m *member) {
	_ = m.node.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.members, m)
}

// newForwarder makes the node of a relay or a bridge. It trusts members as relays of its set.
func (s *site) newForwarder(
	next config.NextHops, open bool, members []identity.Identifier, more ...func(*route.Config),
) (*member, error) {
	t := s.trust
	t.Members = members
	return s.newMember(t, false, func(c *route.Config) {
		c.Limits = limits(s.config.Limits, true)
		c.Channel.Initiators = trust.Caller
		if next != nil {
			c.Channel.Initiators = trust.Passenger
			c.Forward, c.Reach, c.OpenForward = next.Allow, next.Reach, open
		}
		for _, change := range more {
			change(c)
		}
	})
}

// newClaims makes what keeps e.Name claimed for m, on a relay or where it is at home in that one's
// set, and the node that dials relays. hint is the node's.
func (s *site) newClaims(
	m *member, at string, e config.Entrance, hint func(error) string,
) (*homes.Outlet, *member, error) {
	to, err := config.ParseRelay(at)
	if err != nil {
		return nil, nil, err
	}
	trusted, err := s.trustInRelays(e)
	if err != nil {
		return nil, nil, err
	}
	dialer, err := s.newMember(trusted, true, func(c *route.Config) { c.Hint = hint })
	if err != nil {
		return nil, nil, err
	}
	claims := &homes.Outlet{
		Relay: to, Name: e.Name, Dial: dialer.node, Serve: m.node,
		New: func(to route.Route) *relay.Client {
			return &relay.Client{
				Relay: to, Name: e.Name, Dial: dialer.node, Serve: m.node, MuxOnly: e.Mux,
				Instance: s.instance, Replace: e.Replace, Share: e.Share, Health: s.health.of(e.Name),
				ClaimTimeout: s.config.DialTime(),
			}
		},
	}
	if err := claims.New(to).Check(); err != nil {
		s.closeMember(dialer)
		return nil, nil, err
	}
	return claims, dialer, nil
}

// trustInRelays says who a relay may be on which e.Name is claimed. Whoever it is, it can only
// refuse, delay and cut: so it may be anybody who is not denied, unless e names it, or there are
// authorities, who say of relays that they are some.
func (s *site) trustInRelays(e config.Entrance) (trust.Config, error) {
	t := trust.Config{
		Self: s.self.Identifier(), Authorities: s.trust.Authorities,
		Deny: s.trust.Deny, DenyFiles: s.trust.DenyFiles, Known: s.trust.Known,
	}
	var err error
	t.Allow, err = config.ParseIdentifiers("relay-identity", e.RelayIdentities)
	switch {
	case len(t.Allow) > 0:
	case len(t.Authorities) > 0:
		t.Allow = append(t.Allow, t.Self)
	default:
		t.AllowAnyone = true
	}
	return t, err
}

// newPaths makes what keeps the routes of an inlet open.
func (s *site) newPaths(to []route.Route) *route.Failover { return s.main.node.NewFailover(to) }

// trustOf returns the policy that t asks for, without the node's own identity and the known
// histories.
func trustOf(t config.Trust) (p trust.Config, err error) {
	p = trust.Config{
		AllowAnyone: t.AllowAnyone, AllowFiles: t.AllowFiles, DenyFiles: t.DenyFiles,
	}
	if p.Allow, err = config.ParseIdentifiers("allow", t.Allow); err != nil {
		return p, err
	}
	if p.Deny, err = config.ParseIdentifiers("deny", t.Deny); err != nil {
		return p, err
	}
	if p.Authorities, err = config.ParseIdentifiers("authority", t.Authorities); err != nil {
		return p, err
	}
	if p.Require, err = config.ParseAttributes("require", t.Require); err != nil {
		return p, err
	}
	return p, nil
}

// openSeen opens the known histories at path, or the user's own, and tries whether they can be
// written. Where there is no place for the user's own, whatever the reason, the memory is the
// process's, and the log says so; a file that was named has to do.
func openSeen(path string, logger *slog.Logger) (*trust.KnownHistories, error) {
	if path != "" {
		known, err := trust.OpenKnownHistories(path)
		if err != nil && !isNoPlace(err) {
			return nil, err
		}
		if err == nil {
			err = known.Try()
		}
		if err != nil {
			return nil, &Error{Problem: NoPlace, Err: err}
		}
		return known, nil
	}
	known := trust.NewKnownHistories()
	path, err := trust.DefaultKnownHistoriesPath()
	if err == nil {
		known, err = trust.OpenKnownHistories(path)
		if err == nil {
			err = known.Try()
		} else if _, missing := os.Stat(path); missing == nil || !isNoPlace(err) {
			return nil, err // it is there, and not to be read, or not to be believed
		} else {
			known = trust.NewKnownHistories()
		}
	}
	if err != nil {
		known.Detach()
		logger.Warn("who has rotated keys is forgotten when this process ends: "+
			"name a file with --seen", "error", err)
	}
	return known, nil
}

// readSeen opens the known histories at path, or the user's own, to be asked, and not added to.
func readSeen(path string) (*trust.KnownHistories, error) {
	if path == "" {
		var err error
		if path, err = trust.DefaultKnownHistoriesPath(); err != nil {
			return trust.NewKnownHistories(), nil
		}
	}
	return trust.OpenKnownHistories(path)
}

// CheckCredential tells why t would not believe a credential that subject presents now, or nil.
func CheckCredential(
	t config.Trust, c *identity.Credential, subject identity.Identifier,
) error {
	p, err := trustOf(t)
	if err == nil {
		p.Known, err = readSeen(t.Seen)
	}
	if err != nil {
		return err
	}
	policy, err := trust.NewPolicy(p)
	if err != nil {
		return err
	}
	if err := policy.CheckCredential(c, subject, time.Now()); err != nil {
		return &Error{Problem: NotBelieved, Err: err}
	}
	return nil
}

// withTickets has the policy of the outlets' node redeem tickets, if there is a file to put
// their bearers into.
func (s *site) withTickets(t trust.Config) trust.Config {
	if len(t.AllowFiles) > 0 {
		t.TicketRoute, t.Spent = s.leadsHere, s.ticketSpent
		t.TicketIssuer = func() *identity.History { return s.presented.identity().History() }
	}
	return t
}

// ticketSpent logs that a ticket has been shown and is worth nothing any more. The ticket itself is
// no secret any more, and is not logged all the same.
func (s *site) ticketSpent(spent trust.Spent) {
	text := "ticket redeemed"
	if !spent.LetIn {
		text = "ticket spent, and nobody let in for it"
	}
	s.logger.Info(text, "serial", fmt.Sprintf("%x", spent.Ticket.Serial()),
		"identifier", spent.By.Identifier(), "source", spent.By.Source)
	s.notify(Event{
		Kind: TicketSpent, Identifier: s.self.Identifier(), Peer: spent.By.Identifier(),
	})
}

// leadsHere tells whether a ticket's route leads to one of the outlets, and not to another one
// that has the same identity: an outlet with a name is asked for by that, where it listens as on
// relays, and only one that listens and has none without.
func (s *site) leadsHere(text string) error {
	to, err := route.Parse(text)
	if err != nil {
		return err
	}
	var outlets []config.Outlet
	if p := s.outlets.Load(); p != nil {
		outlets = *p
	}
	for _, a := range slices.Backward(to) {
		asked, named := strings.CutPrefix(a.Name, route.ForwardPrefix)
		named = named && a.Kind == route.KindService
		isHere := func(o config.Outlet) bool {
			names := o.Names()
			return a.IsTransport() && len(o.Listens()) > 0 && len(names) == 0 ||
				named && slices.Contains(names, asked)
		}
		switch {
		case slices.ContainsFunc(outlets, isHere):
			return nil
		case a.IsTransport():
			return errors.New("it is for an outlet that is asked for without a name")
		case named:
			return fmt.Errorf("it is for the outlet that goes by the name %s", asked)
		}
	}
	return errors.New("its route leads nowhere")
}

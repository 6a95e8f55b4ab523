package trust

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
)

// Policy decides whom to trust. It is safe for concurrent use. Check never waits for a disk.
// MightTrust does where there is a Config.AllowLater. Accept does when a ticket is redeemed, or
// when a history that is new is written to the file of known histories. Changes of the allow and
// deny files are seen by Poll and Reload only.
type Policy struct {
	// Set once.
	own         identity.Identifier // no authority vouches for it here
	self        identity.Identifier // the same, if it is trusted by itself
	allow       map[identity.Identifier]bool
	deny        map[identity.Identifier]bool
	authorities map[identity.Identifier]bool
	members     map[identity.Identifier]bool
	require     map[string]string
	anyone      bool
	known       *KnownHistories
	issuer      func() *identity.History // of tickets; nil: none are redeemed
	leadsHere   func(route string) error
	onSpent     func(Spent)

	redeeming sync.Mutex // held while a ticket is redeemed

	lists atomic.Pointer[lists] // what Check reads

	mu         sync.Mutex // held while files are read; guards what follows
	allowFiles []*listFile
	denyFiles  []*listFile
	laterFiles []*listFile // those of allowFiles that need not be there yet
}

// NewPolicy checks that a policy makes sense, and reads its files. Errors name the file
// and line.
func NewPolicy(cfg Config) (*Policy, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	p := &Policy{
		own:         cfg.Self,
		allow:       set(cfg.Allow),
		deny:        set(cfg.Deny),
		authorities: set(cfg.Authorities),
		members:     set(cfg.Members),
		require:     maps.Clone(cfg.Require),
		anyone:      cfg.AllowAnyone,
		known:       cfg.Known,
		issuer:      cfg.TicketIssuer,
		leadsHere:   cfg.TicketRoute,
		onSpent:     cfg.Spent,
		allowFiles:  listFiles(allowKind, cfg.AllowFiles),
		denyFiles:   listFiles(denyKind, cfg.DenyFiles),
	}
	for _, f := range listFiles(allowKind, cfg.AllowLater) {
		f.later = true
		p.allowFiles, p.laterFiles = append(p.allowFiles, f), append(p.laterFiles, f)
	}
	if !cfg.anchored() {
		p.self = cfg.Self
	}
	if p.known == nil {
		p.known = NewKnownHistories()
	}
	p.lists.Store(&lists{changed: make(chan struct{})})
	if err := p.Reload(); err != nil {
		return nil, err
	}
	if err := p.checkSpentFolder(); err != nil {
		return nil, err
	}
	return p, nil
}

func set(ids []identity.Identifier) map[identity.Identifier]bool {
	m := make(map[identity.Identifier]bool, len(ids))
	for _, id := range ids {
		m[id] = true
	}
	return m
}

// MightTrust says whether somebody could be trusted at now, as what he is taken for, if he proves
// what he claims. It is the question to ask first: it verifies no signature of the claimed history,
// and of what comes with that no more than what decides. Who presents a ticket that is good may go
// on, for that is to be spent. An error wraps [ErrNotTrusted] and gives the reason.
func (p *Policy) MightTrust(c identity.Claim, as As, now time.Time) error {
	err := p.mightTrust(c, as, now)
	if err != nil && p.lookAgain() {
		err = p.mightTrust(c, as, now)
	}
	if err != nil {
		return fmt.Errorf("who claims to be %s is %w: %w", c.Identifier, ErrNotTrusted, err)
	}
	return nil
}

func (p *Policy) mightTrust(c identity.Claim, as As, now time.Time) error {
	lists := p.lists.Load()
	err := p.denied(lists, c.Identifier)
	if err == nil {
		_, err = p.anchored(lists, c, as, now)
	}
	switch {
	case err == nil || c.Ticket == nil:
		return err
	case p.issuer == nil:
		return join(err, ErrNoTickets)
	}
	if refused := p.checkTicket(c.Ticket, now); refused != nil {
		return join(err, refused)
	}
	return nil
}

// claimOf returns what a peer has claimed and proved.
func claimOf(peer *identity.Peer) identity.Claim {
	return identity.Claim{
		Identifier: peer.Identifier(), Credentials: peer.Credentials, Ticket: peer.Ticket,
	}
}

// Check says whether a peer that has proved its identity is trusted, as what it is taken for, at
// now. It only asks: it changes nothing, in memory or on disk. It verifies the credentials that
// matter, and ignores a ticket.
//
// An error wraps [ErrNotTrusted] and gives the reason; it may also be [ErrOlderHistory],
// [ErrForkedHistory], [ErrNameless], [identity.ErrExpired] or [identity.ErrNotYetValid].
func (p *Policy) Check(peer *identity.Peer, as As, now time.Time) (Decision, error) {
	d, err := p.decide(peer, as, now)
	if err == nil {
		err = p.known.Check(peer.History)
	}
	return conclude(peer, d, err)
}

// Accept is Check for a peer that has just proved itself in a handshake. It also does what
// follows from letting the peer in:
//
//   - a ticket that is good is spent, whoever presents it: where Check refuses the peer, and
//     it is not denied, it is let in for that, as [Policy.Redeem] does;
//   - a peer that is trusted is remembered in Config.Known, and so is the authority that
//     vouched for it. If they cannot be remembered, the peer is not trusted.
//
// A peer that is refused leaves no trace, but for a ticket that was spent in vain. Errors
// are those of Check; they may also be [ErrSpent].
func (p *Policy) Accept(peer *identity.Peer, as As, now time.Time) (Decision, error) {
	d, err := p.decide(peer, as, now)
	if p.takesTicket(peer) {
		d, err = p.acceptTicket(peer, d, err, now)
	}
	if err == nil {
		err = p.remember(peer, d)
	}
	return conclude(peer, d, err)
}

// conclude returns what Check and Accept say in the end.
func conclude(peer *identity.Peer, d Decision, err error) (Decision, error) {
	switch {
	case err == nil:
		return d, nil
	case !proved(peer):
		return Decision{}, fmt.Errorf("%w: %w", ErrNotTrusted, err)
	}
	return Decision{}, fmt.Errorf("%s is %w: %w", peer.Identifier(), ErrNotTrusted, err)
}

func proved(peer *identity.Peer) bool { return peer != nil && peer.History != nil }

// Names tells whether somebody is trusted, whatever he is taken for and presents.
func (p *Policy) Names(id identity.Identifier) bool {
	lists := p.lists.Load()
	if p.denied(lists, id) != nil {
		return false
	}
	_, listed := lists.allow[id]
	return listed || p.anyone || p.allow[id] || id == p.self && !id.IsZero()
}

// Allowed returns those who are named, and not denied, in order.
func (p *Policy) Allowed() []identity.Identifier {
	named := maps.Clone(p.allow)
	for id := range p.lists.Load().allow {
		named[id] = true
	}
	return p.undenied(named)
}

// AllowedBy returns those whom a file of Config.AllowFiles or AllowLater names, and none before it,
// and who are not denied, in order.
func (p *Policy) AllowedBy(path string) []identity.Identifier {
	named := make(map[identity.Identifier]bool)
	for id, at := range p.lists.Load().allow {
		if at.path == path {
			named[id] = true
		}
	}
	return p.undenied(named)
}

// undenied returns those of named who are not denied, in order. It takes named.
func (p *Policy) undenied(named map[identity.Identifier]bool) []identity.Identifier {
	lists := p.lists.Load()
	maps.DeleteFunc(named, func(id identity.Identifier, _ bool) bool {
		return p.denied(lists, id) != nil
	})
	return slices.SortedFunc(maps.Keys(named), func(a, b identity.Identifier) int {
		return bytes.Compare(a[:], b[:])
	})
}

// decide looks at everything but the histories known before.
func (p *Policy) decide(peer *identity.Peer, as As, now time.Time) (Decision, error) {
	if !proved(peer) {
		return Decision{}, errors.New("it has not proved an identity")
	}
	lists := p.lists.Load()
	if err := p.denied(lists, peer.Identifier()); err != nil {
		return Decision{}, err
	}
	return p.anchored(lists, claimOf(peer), as, now)
}

func (p *Policy) denied(lists *lists, id identity.Identifier) error {
	if p.deny[id] {
		return errors.New("denied")
	}
	if at, ok := lists.deny[id]; ok {
		return fmt.Errorf("denied by %s", at)
	}
	return nil
}

// anchored looks for an anchor that holds for somebody who is not denied, if his claim is true.
func (p *Policy) anchored(
	lists *lists, c identity.Claim, as As, now time.Time,
) (Decision, error) {
	id := c.Identifier
	if p.members[id] && as.isOfMembers() {
		return Decision{Anchor: AnchorAllow}, nil
	}
	if as.Role == Member {
		return p.asMember(lists, c, now)
	}
	if id == p.self && !p.self.IsZero() {
		return Decision{Anchor: AnchorSelf}, nil
	}
	if p.allow[id] {
		return Decision{Anchor: AnchorAllow}, nil
	}
	if at, ok := lists.allow[id]; ok {
		return Decision{Anchor: AnchorAllowFile, Where: at.String()}, nil
	}
	reason := p.notNamed(lists)
	if len(p.authorities) > 0 {
		d, err := p.bestCredential(lists, c, as, now)
		if err == nil {
			return d, nil
		}
		reason = join(reason, err)
	}
	if p.anyone {
		return Decision{Anchor: AnchorAnyone}, nil
	}
	return Decision{}, reason
}

// asMember is anchored for somebody who is none of the members that are named.
func (p *Policy) asMember(
	lists *lists, c identity.Claim, now time.Time,
) (Decision, error) {
	if len(p.authorities) == 0 {
		return Decision{}, fmt.Errorf("not among the %d relays of the set", len(p.members))
	}
	return p.bestCredential(lists, c, As{Role: Member}, now)
}

// notNamed is the reason for refusing who is in no list; nil if there are none.
func (p *Policy) notNamed(lists *lists) error {
	switch {
	case !p.self.IsZero() && len(lists.allow) > 0:
		return fmt.Errorf("not our own identity, and not among the %d allowed", len(lists.allow))
	case !p.self.IsZero():
		return errors.New("not our own identity, and no other is allowed")
	case len(p.allow)+len(p.allowFiles) > 0:
		return fmt.Errorf("not among the %d allowed", len(p.allow)+len(lists.allow))
	}
	return nil
}

// remember puts the histories that a decision relies on where they are known, which may
// refuse them.
func (p *Policy) remember(peer *identity.Peer, d Decision) error {
	if d.authority != nil {
		if err := p.known.observe(d.authority, false); err != nil {
			return fmt.Errorf("the authority %s: %w", d.authority.Identifier(), err)
		}
	}
	return p.known.observe(peer.History, d.Anchor == AnchorAnyone)
}

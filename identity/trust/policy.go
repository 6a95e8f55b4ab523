package trust

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/secureportal/sp/identity"
)

var errZero = errors.New("the zero Identifier names nobody")

// Config says whom to trust. The fields from Allow to Authorities are anchors, and
// one that holds is enough. If none of them is set, the only one trusted is Self. If any
// is set, Self is trusted only if it is named there too.
type Config struct {
	// Self is the node's own Identifier. It may be zero if there is an anchor.
	Self identity.Identifier

	// Allow names identities that are trusted.
	Allow []identity.Identifier

	// AllowFiles are files that do, one a line. They must exist when the policy is made,
	// and are read again by Reload, Poll and Run.
	AllowFiles []string

	// AllowAnyone trusts every identity that proves itself.
	AllowAnyone bool

	// Authorities names those whose credentials are believed: an identity is trusted
	// while it shows one that is valid, is about itself, and has all that Require asks.
	Authorities []identity.Identifier

	// Require is the attributes one credential must have, all of them. Empty means
	// that any credential of an authority will do. It needs Authorities.
	Require map[string]string

	// DenyFiles and Deny name identities that are not trusted, whatever else is said,
	// and whose credentials are not believed if they are authorities. The files are
	// treated as AllowFiles are.
	DenyFiles []string
	Deny      []identity.Identifier

	// Tickets returns the history of the node's own identity, and has the tickets that
	// it issued redeemed: whoever shows one, and is trusted by nothing else, is put into
	// the first of AllowFiles, of which there must be one. What has been redeemed is
	// remembered beside it, in a folder of that name and ".spent". Nil redeems none.
	TicketIssuer func() *identity.History

	// TicketRoute tells whether the route in a ticket leads to this node, and not to another one of the same identity;
	// its error is the reason. Nil believes it.
	TicketRoute func(route string) error

	// Seen remembers who has rotated keys. nil means a memory of the policy's own,
	// without a file. Only the histories of those who are trusted are put there.
	Known *KnownHistories
}

// Anchor is the part of a policy that a trusted peer is trusted by.
type Anchor uint8

// The anchors, in the order in which they are tried.
const (
	AnchorSelf Anchor = iota + 1
	AnchorAllow
	AnchorAllowFile
	AnchorAuthority
	AnchorAnyone
)

// String returns "self", "allow", "allow-file", "authority" or "anyone".
func (a Anchor) String() string {
	names := [...]string{"none", "self", "allow", "allow-file", "authority", "anyone"}
	if int(a) < len(names) {
		return names[a]
	}
	return fmt.Sprintf("anchor %d", uint8(a))
}

// Decision says why and how long a peer is trusted.
type Decision struct {
	// Anchor is what made the decision.
	Anchor Anchor
	// Where is the file and line, "path:line", of AnchorAllowFile; else empty.
	Where string
	// Until is when trust ends by itself, because the credential expires; zero is never.
	// From that instant on Check says no.
	Until time.Time
	// Credential is the one that convinced, of AnchorAuthority; else nil.
	Credential *identity.Credential
	// Attributes are the credential's, verified; else nil. The map is the caller's.
	Attributes map[string]string

	authority *identity.History // of the Credential's authority, verified; else nil
}

// Policy decides whom to trust. It is safe for concurrent use. Check does not wait while
// lists are read; it may wait while Seen writes a history that is new to its file.
type Policy struct {
	// Set once.
	self        identity.Identifier
	allow       map[identity.Identifier]bool
	deny        map[identity.Identifier]bool
	authorities map[identity.Identifier]bool
	require     map[string]string
	anyone      bool
	known       *KnownHistories
	issuer      func() *identity.History // of tickets; nil: none are redeemed
	leadsHere   func(route string) error

	redeeming sync.Mutex // held while a ticket is redeemed

	lists atomic.Pointer[lists] // what Check reads

	mu         sync.Mutex // held while files are read; guards what follows
	allowFiles []*listFile
	denyFiles  []*listFile
}

// lists is what was last read from the files. It never changes, except that changed is
// closed when another has taken its place.
type lists struct {
	allow, deny map[identity.Identifier]location
	changed     chan struct{}
}

// place is where in the files an identity is named.
type location struct {
	path string
	line int
}

func (p location) String() string { return fmt.Sprintf("%s:%d", p.path, p.line) }

// NewPolicy reads the files of a policy and checks that it makes sense. Errors name the
// file and line.
func NewPolicy(cfg Config) (*Policy, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	p := &Policy{
		allow:       set(cfg.Allow),
		deny:        set(cfg.Deny),
		authorities: set(cfg.Authorities),
		require:     maps.Clone(cfg.Require),
		anyone:      cfg.AllowAnyone,
		known:       cfg.Known,
		issuer:      cfg.TicketIssuer,
		leadsHere:   cfg.TicketRoute,
		allowFiles:  listFiles("allow", cfg.AllowFiles),
		denyFiles:   listFiles("deny", cfg.DenyFiles),
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
	return p, nil
}

// anchored reports whether anybody is named, so that Self is not implied.
func (cfg *Config) anchored() bool {
	return len(cfg.Allow) > 0 || len(cfg.AllowFiles) > 0 || cfg.AllowAnyone || len(cfg.Authorities) > 0
}

func (cfg *Config) check() error {
	switch {
	case !cfg.anchored() && cfg.Self.IsZero():
		return errors.New("nobody to trust: no identity of one's own, and none is named")
	case anyZero(cfg.Allow), anyZero(cfg.Authorities), anyZero(cfg.Deny):
		return errZero
	case cfg.TicketIssuer != nil && len(cfg.AllowFiles) == 0:
		return errors.New("tickets are redeemed but there is no allow file to put their bearers into")
	case len(cfg.Require) > 0 && len(cfg.Authorities) == 0:
		return errors.New("attributes are required but no authority is named whose word counts")
	case len(cfg.Require) > identity.MaxAttributes:
		return fmt.Errorf("%d attributes are required, a credential has at most %d", len(cfg.Require), identity.MaxAttributes)
	}
	for key, value := range cfg.Require {
		if err := identity.CheckAttribute(key, value); err != nil {
			return err
		}
	}
	return nil
}

func set(ids []identity.Identifier) map[identity.Identifier]bool {
	m := make(map[identity.Identifier]bool, len(ids))
	for _, id := range ids {
		m[id] = true
	}
	return m
}

func listFiles(kind string, paths []string) []*listFile {
	files := make([]*listFile, len(paths))
	for i, path := range paths {
		files[i] = &listFile{kind: kind, path: path}
	}
	return files
}

// Check decides whether to trust a peer that has proved itself. It verifies the
// credentials that matter. An error wraps [ErrNotTrusted] and gives the reason; it may
// also be [ErrOlderHistory], [ErrForkedHistory], [ErrExpired], [ErrNotYetValid] or
// [ErrSpent].
//
// A peer that is trusted is remembered in Seen, with the authority that vouched for it;
// one that is not leaves no trace, in memory or on disk. One that is trusted by nothing
// else may be so for its ticket, which is redeemed then.
func (p *Policy) Check(peer *identity.Peer, now time.Time) (Decision, error) {
	if peer == nil || peer.History == nil {
		return Decision{}, fmt.Errorf("%w: it has not proved an identity", ErrNotTrusted)
	}
	d, err := p.decide(peer, now)
	if err == nil {
		err = p.remember(peer, d)
	}
	if err != nil {
		return Decision{}, fmt.Errorf("%s is %w: %w", peer.Identifier(), ErrNotTrusted, err)
	}
	return d, nil
}

func (p *Policy) decide(peer *identity.Peer, now time.Time) (Decision, error) {
	lists := p.lists.Load()
	if err := p.denied(lists, peer.Identifier()); err != nil {
		return Decision{}, err
	}
	d, reason := p.anchored(lists, peer, now)
	if reason == nil || peer.Ticket == nil || p.issuer == nil {
		return d, reason
	}
	if err := p.redeem(peer, now); err != nil {
		return Decision{}, join(reason, err)
	}
	return p.anchored(p.lists.Load(), peer, now)
}

// anchored looks for an anchor that holds for a peer that is not denied.
func (p *Policy) anchored(lists *lists, peer *identity.Peer, now time.Time) (Decision, error) {
	id := peer.Identifier()
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
		d, err := p.bestCredential(lists, peer, now)
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

func (p *Policy) denied(lists *lists, id identity.Identifier) error {
	if p.deny[id] {
		return errors.New("denied")
	}
	if at, ok := lists.deny[id]; ok {
		return fmt.Errorf("denied by %s", at)
	}
	return nil
}

// notNamed is the reason for refusing who is in no list; nil if there are none.
func (p *Policy) notNamed(lists *lists) error {
	switch {
	case !p.self.IsZero():
		return errors.New("not our own identity, and no other is allowed")
	case len(p.allow)+len(p.allowFiles) > 0:
		return fmt.Errorf("not among the %d allowed", len(p.allow)+len(lists.allow))
	}
	return nil
}

// bestCredential decides by the credential that makes a peer trusted for the longest
// time. The error is the reasons why none does.
func (p *Policy) bestCredential(lists *lists, peer *identity.Peer, now time.Time) (Decision, error) {
	if len(peer.Credentials) == 0 {
		return Decision{}, errors.New("no credential was shown")
	}
	var best Decision
	var reasons error
	for i, c := range peer.Credentials {
		authority, err := p.checkCredential(lists, c, peer.Identifier(), now)
		if err != nil {
			reasons = join(reasons, fmt.Errorf("credential %d: %w", i+1, err))
		} else if best.Credential == nil || c.Expires().After(best.Until) {
			best = Decision{
				Anchor: AnchorAuthority, Until: c.Expires(), Credential: c, authority: authority,
			}
		}
	}
	if best.Credential == nil {
		return Decision{}, reasons
	}
	best.Attributes = best.Credential.Attributes()
	return best, nil
}

// CheckCredential tells why the policy would not believe c if subject showed it, or nil. It is for who looks at a
// credential beforehand: nobody has proved to be the subject.
func (p *Policy) CheckCredential(c *identity.Credential, subject identity.Identifier, now time.Time) error {
	_, err := p.checkCredential(p.lists.Load(), c, subject, now)
	return err
}

// checkCredential returns the history of c's authority if the policy believes c. It checks
// what is cheap first: signatures come last.
func (p *Policy) checkCredential(
	lists *lists, c *identity.Credential, subject identity.Identifier, now time.Time,
) (*identity.History, error) {
	authority := c.Authority()
	if !p.authorities[authority] {
		return nil, fmt.Errorf("issued by %s, who is not an authority here", authority)
	}
	if err := p.denied(lists, authority); err != nil {
		return nil, fmt.Errorf("its authority %s is %w", authority, err)
	}
	if err := p.checkAttributes(c); err != nil {
		return nil, err
	}
	history, err := c.Verify(authority, subject, now)
	if err != nil {
		return nil, err
	}
	if err := p.known.Check(history); err != nil {
		return nil, fmt.Errorf("its authority %s: %w", authority, err)
	}
	return history, nil
}

// checkAttributes tells what of the required attributes c lacks.
func (p *Policy) checkAttributes(c *identity.Credential) error {
	if len(p.require) == 0 {
		return nil
	}
	attributes := c.Attributes()
	for _, key := range slices.Sorted(maps.Keys(p.require)) {
		if value, ok := attributes[key]; !ok {
			return fmt.Errorf("it has no attribute %s, required is %q", key, p.require[key])
		} else if value != p.require[key] {
			return fmt.Errorf("attribute %s is %q, required is %q", key, value, p.require[key])
		}
	}
	return nil
}

// remember puts the histories that a decision relied on into Seen, which may refuse.
func (p *Policy) remember(peer *identity.Peer, d Decision) error {
	if d.Credential != nil {
		if err := p.known.observe(d.authority, false); err != nil {
			return fmt.Errorf("the authority %s: %w", d.Credential.Authority(), err)
		}
	}
	return p.known.observe(peer.History, d.Anchor == AnchorAnyone)
}

// Changed returns a channel that is closed at the next change of whom the policy trusts.
// Take the channel first and Check then, and no change is missed. Rotations do not close
// it, nor does the end of a credential: see Decision.Until.
func (p *Policy) Changed() <-chan struct{} { return p.lists.Load().changed }

// Reload reads all files again. A file that cannot be read, or has an error in it, keeps
// its old list; the error names the file and line, and those of all such files are
// joined.
func (p *Policy) Reload() error { return p.refresh((*listFile).load) }

// Poll reads the files that have changed since they were read: another inode, size or
// time of change. It costs a stat a file. Errors are those of Reload, except that the
// same one is not returned twice in a row.
func (p *Policy) Poll() error { return p.refresh((*listFile).poll) }

// Run polls at an interval until the context is done, and returns the context's error.
// Zero means [DefaultPollInterval]. Errors of Poll go to report, in the goroutine of
// Run; nil drops them. Without files Run only waits.
func (p *Policy) Run(ctx context.Context, interval time.Duration, report func(error)) error {
	if interval <= 0 {
		interval = DefaultPollInterval
	}
	if len(p.allowFiles)+len(p.denyFiles) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := p.Poll(); err != nil && report != nil {
			report(err)
		}
	}
}

func (p *Policy) refresh(read func(*listFile) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	fresh := false
	for _, f := range slices.Concat(p.allowFiles, p.denyFiles) {
		errs = append(errs, read(f))
		fresh = fresh || f.fresh
		f.fresh = false
	}
	if fresh {
		p.publish()
	}
	return errors.Join(errs...)
}

// publish lets Check see what has been read, and tells those who wait for a change.
func (p *Policy) publish() {
	old := p.lists.Load()
	fresh := &lists{allow: merge(p.allowFiles), deny: merge(p.denyFiles), changed: old.changed}
	if sameKeys(old.allow, fresh.allow) && sameKeys(old.deny, fresh.deny) {
		p.lists.Store(fresh) // lines may have moved
		return
	}
	fresh.changed = make(chan struct{})
	p.lists.Store(fresh)
	close(old.changed)
}

// merge returns the identities in some files; the first file that names one counts.
func merge(files []*listFile) map[identity.Identifier]location {
	m := make(map[identity.Identifier]location)
	for _, f := range files {
		for id, line := range f.ids {
			if _, ok := m[id]; !ok {
				m[id] = location{f.path, line}
			}
		}
	}
	return m
}

// join puts errors on one line.
func join(a, b error) error {
	if a == nil {
		return b
	}
	return fmt.Errorf("%w; %w", a, b)
}

// sameKeys reports whether two maps have the same keys.
func sameKeys[V any](a, b map[identity.Identifier]V) bool {
	if len(a) != len(b) {
		return false
	}
	for id := range a {
		if _, ok := b[id]; !ok {
			return false
		}
	}
	return true
}

func anyZero(ids []identity.Identifier) bool {
	return slices.ContainsFunc(ids, identity.Identifier.IsZero)
}

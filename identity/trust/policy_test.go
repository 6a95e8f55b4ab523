package trust

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
)

// TestPolicyTable is every anchor with everything that can be wrong with a peer, from
// the proof on the wire to the decision.
func TestPolicyTable(t *testing.T) {
	node, peer := newIdentity(t, "node"), newIdentity(t, "peer")
	authority, stranger := newIdentity(t, "authority"), newIdentity(t, "stranger")
	file := writeTemp(t, "allow", "# friends\n"+peer.Identifier().String()+" the peer\n")

	anchors := []struct {
		anchor Anchor
		cfg    Config
		peer   *identity.Identity
	}{
		{AnchorSelf, Config{Self: node.Identifier()}, node},
		{
			AnchorAllow,
			Config{Self: node.Identifier(), Allow: []identity.Identifier{peer.Identifier()}},
			peer,
		},
		{AnchorAllowFile, Config{Self: node.Identifier(), AllowFiles: []string{file}}, peer},
		{AnchorAuthority, Config{
			Self: node.Identifier(), Authorities: []identity.Identifier{authority.Identifier()},
			Require: map[string]string{"role": "db"},
		}, peer},
		{AnchorAnyone, Config{Self: node.Identifier(), AllowAnyone: true}, peer},
	}
	const (
		trusted = "" // else what the error says
		unproof = "identity proof"
	)
	cells := []struct {
		name   string
		at     time.Duration // after t0
		issuer *identity.Identity
		about  *identity.Identity // nil: the peer
		attrs  []string
		change func(credential []byte)
		proof  func(proof []byte)
		deny   func(peer identity.Identifier) identity.Identifier
		is     error             // of the authority anchor
		want   map[Anchor]string // where it differs from
		others string            // what all others say
	}{
		{name: "good"},
		{name: "last instant", at: time.Hour - 1},
		{
			name: "expired",
			at:   time.Hour,
			is:   identity.ErrExpired,
			want: map[Anchor]string{
				AnchorAuthority: "credential 1: expired at 2026-02-03T05:05:06Z",
			},
		},
		{
			name: "not yet valid",
			at:   -1,
			is:   identity.ErrNotYetValid,
			want: map[Anchor]string{
				AnchorAuthority: "credential 1: not yet valid: it begins at 2026-02-03T04:05:06Z",
			},
		},
		{
			name:   "wrong issuer",
			issuer: stranger,
			want: map[Anchor]string{
				AnchorAuthority: "credential 1: issued by " + stranger.Identifier().String() +
					", who is not an authority here",
			},
		},
		{
			name:   "issued by itself",
			issuer: peer,
			want:   map[Anchor]string{AnchorAuthority: "who is not an authority here"},
		},
		{
			name:  "wrong subject",
			about: stranger,
			want: map[Anchor]string{
				AnchorAuthority: "credential 1: about " + stranger.Identifier().String(),
			},
		},
		{
			name:  "wrong attribute",
			attrs: []string{"role=web"},
			want:  map[Anchor]string{AnchorAuthority: `attribute role is "web", required is "db"`},
		},
		{
			name:  "no attribute",
			attrs: []string{"rolex=db"},
			want:  map[Anchor]string{AnchorAuthority: `it has no attribute role, required is "db"`},
		},
		{
			name:   "flipped bit in the credential's signature",
			change: func(b []byte) { b[len(b)-40] ^= 4 },
			want:   map[Anchor]string{AnchorAuthority: "credential 1: not signed by its authority"},
		},
		{
			name:   "flipped bit in the credential's expiry",
			change: func(b []byte) { b[1+serialSize+hashSize+8+7] ^= 128 },
			want:   map[Anchor]string{AnchorAuthority: "credential 1: not signed by its authority"},
		},
		{
			name:   "flipped bit in the authority's history",
			change: func(b []byte) { b[len(b)-signatureSize-40] ^= 4 },
			want:   map[Anchor]string{AnchorAuthority: "credential 1: not signed by its authority"},
		},
		{
			name:   "flipped bit in the proof's signature",
			proof:  func(b []byte) { b[len(b)-40] ^= 4 },
			others: unproof,
		},
		{
			name:   "flipped bit in the proof's history",
			proof:  func(b []byte) { b[50] ^= 4 },
			others: unproof,
		},
		{
			name:   "revoked",
			deny:   func(peer identity.Identifier) identity.Identifier { return peer },
			others: "not trusted: denied",
		},
		{
			name: "authority revoked",
			deny: func(identity.Identifier) identity.Identifier { return authority.Identifier() },
			want: map[Anchor]string{
				AnchorAuthority: "its authority " + authority.Identifier().String() + " is denied",
			},
		},
	}
	for _, a := range anchors {
		for _, cell := range cells {
			t.Run(a.anchor.String()+"/"+cell.name, func(t *testing.T) {
				issuer, about, attrs := authority, a.peer, []string{"role=db", "zone=eu"}
				if cell.issuer != nil {
					issuer = cell.issuer
				}
				if cell.about != nil {
					about = cell.about
				}
				if cell.attrs != nil {
					attrs = cell.attrs
				}
				cfg := a.cfg
				if cell.deny != nil {
					denied := cell.deny(a.peer.Identifier()).String() + "\n"
					cfg.DenyFiles = []string{writeTemp(t, "deny", denied)}
				}
				credential := issued(t, issuer, about.Identifier(), attrs...).Bytes()
				if cell.change != nil {
					cell.change(credential)
				}
				p := newPolicy(t, cfg)
				d, err := decideFromProof(t, p, a.peer, credential, cell.proof, t0.Add(cell.at))
				want, ok := cell.want[a.anchor]
				if !ok {
					want = cell.others
				}
				if want != trusted {
					wantErr(t, err, nil, want)
					if want != unproof {
						wantErr(t, err, ErrNotTrusted, a.peer.Identifier().String())
					}
					if cell.is != nil && !errors.Is(err, cell.is) {
						t.Errorf("error %v is not %v", err, cell.is)
					}
					if d.Anchor != 0 || d.Attributes != nil || d.Credential != nil {
						t.Errorf("refused, and yet the decision is %+v", d)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				checkDecision(t, d, a.anchor, file)
			})
		}
	}
}

func decideFromProof(
	t *testing.T, p *Policy, id *identity.Identity, credential []byte, spoil func([]byte),
	now time.Time,
) (d Decision, err error) {
	t.Helper()
	proof, err := id.Prove(identity.Initiator, testHash, [][]byte{credential}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if spoil != nil {
		spoil(proof)
	}
	claimed, err := identity.ParseProof(identity.Initiator, proof)
	if err != nil {
		return Decision{}, err
	}
	might := p.MightTrust(claimed.Claim(), anInlet, now)
	peer, err := claimed.Verify(testHash)
	if err != nil {
		return Decision{}, err
	}
	defer func() {
		if (might == nil) != (err == nil) {
			t.Errorf("MightTrust says %v, and Accept %v", might, err)
		}
	}()
	asked, refused := p.Check(peer, anInlet, now)
	d, err = p.Accept(peer, anInlet, now)
	if fmt.Sprint(asked, refused) != fmt.Sprint(d, err) {
		t.Errorf("Check says %+v, %v, and Accept %+v, %v", asked, refused, d, err)
	}
	return d, err
}

func checkDecision(t *testing.T, d Decision, anchor Anchor, file string) {
	t.Helper()
	if d.Anchor != anchor {
		t.Errorf("the anchor is %v, want %v", d.Anchor, anchor)
	}
	where, until, attributes := "", time.Time{}, map[string]string(nil)
	switch anchor {
	case AnchorAllowFile:
		where = file + ":2"
	case AnchorAuthority:
		until, attributes = t0.Add(time.Hour), map[string]string{"role": "db", "zone": "eu"}
	}
	if d.Where != where || !d.Until.Equal(until) || !maps.Equal(d.Attributes, attributes) ||
		(d.Credential != nil) != (anchor == AnchorAuthority) {
		t.Errorf("the decision is %+v", d)
	}
}

// Every anchor refuses one whom it does not name, and says why.
func TestPolicyRefusesOthers(t *testing.T) {
	node, friend := newIdentity(t, "node"), newIdentity(t, "friend")
	stranger := newIdentity(t, "stranger")
	file := writeTemp(t, "allow", friend.Identifier().String()+"\n")
	authority := newIdentity(t, "authority").Identifier()
	for _, test := range []struct {
		cfg  Config
		who  *identity.Identity
		want string
	}{
		{
			Config{Self: node.Identifier()},
			stranger,
			"not our own identity, and no other is allowed",
		},
		{
			Config{Allow: []identity.Identifier{friend.Identifier()}},
			stranger,
			"not among the 1 allowed",
		},
		{Config{AllowFiles: []string{file}}, stranger, "not among the 1 allowed"},
		{
			Config{Authorities: []identity.Identifier{authority}},
			stranger,
			"not trusted: no credential was presented",
		},
		{
			Config{
				Allow:       []identity.Identifier{friend.Identifier()},
				Authorities: []identity.Identifier{authority},
			},
			stranger, "not among the 1 allowed; no credential was presented",
		},
		// Self is not implied once another is named.
		{
			Config{Self: node.Identifier(), Allow: []identity.Identifier{friend.Identifier()}},
			node, "not among the 1 allowed",
		},
		{
			Config{Self: node.Identifier(), AllowFiles: []string{file}},
			node,
			"not among the 1 allowed",
		},
		{
			Config{Self: node.Identifier(), Authorities: []identity.Identifier{authority}},
			node,
			"it is our own identity, for which no authority vouches here",
		},
		// Deny wins over all.
		{
			Config{Self: node.Identifier(), Deny: []identity.Identifier{node.Identifier()}},
			node,
			"denied",
		},
		{Config{AllowAnyone: true, DenyFiles: []string{file}}, friend, "denied by " + file + ":1"},
	} {
		_, err := newPolicy(t, test.cfg).Check(peerOf(test.who), anInlet, t0)
		wantErr(t, err, ErrNotTrusted, test.want)
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("the reason is not one line: %q", err)
		}
	}
	p := newPolicy(t, Config{AllowAnyone: true})
	for _, peer := range []*identity.Peer{nil, {}} {
		_, err := p.Check(peer, anInlet, t0)
		wantErr(t, err, ErrNotTrusted, "has not proved")
		_, err = p.Accept(peer, anInlet, t0)
		wantErr(t, err, ErrNotTrusted, "has not proved")
	}
}

func TestPolicyCredentials(t *testing.T) {
	peer, a1, a2 := newIdentity(t, "peer"), newIdentity(t, "a1"), newIdentity(t, "a2")
	issue := func(
		by *identity.Identity, life time.Duration, attributes map[string]string,
	) *identity.Credential {
		c, err := by.Issue(nil, identity.Claims{
			Subject: peer.Identifier(), Attributes: attributes, NotBefore: t0,
			Expires: t0.Add(life),
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	p := newPolicy(t, Config{
		Authorities: []identity.Identifier{a1.Identifier(), a2.Identifier()},
		Require:     map[string]string{"role": "db", "zone": "eu"},
	})
	both := map[string]string{"role": "db", "zone": "eu"}
	// Two halves do not make a whole.
	role := issue(a1, time.Hour, map[string]string{"role": "db"})
	zone := issue(a2, time.Hour, map[string]string{"zone": "eu"})
	_, err := p.Check(peerOf(peer, role, zone), anInlet, t0)
	wantErr(t, err, ErrNotTrusted, "credential 1: it has no attribute zone")
	wantErr(t, err, ErrNotTrusted, "credential 2: it has no attribute role")
	// The one that lives longest counts, wherever it stands.
	short, long := issue(a1, time.Hour, both), issue(a2, 2*time.Hour, both)
	for _, shown := range [][]*identity.Credential{{short, long}, {long, short}} {
		d, err := p.Check(peerOf(peer, shown...), anInlet, t0)
		if err != nil || d.Credential != long || !d.Until.Equal(t0.Add(2*time.Hour)) {
			t.Errorf("%+v, %v", d, err)
		}
		_, err = p.Check(peerOf(peer, shown...), anInlet, d.Until)
		if !errors.Is(err, identity.ErrExpired) {
			t.Errorf("at Until: %v", err)
		}
		if _, err := p.Check(peerOf(peer, shown...), anInlet, d.Until.Add(-1)); err != nil {
			t.Errorf("just before Until: %v", err)
		}
	}
	// An authority may be trusted together with anyone: its attributes are still told.
	p = newPolicy(t, Config{AllowAnyone: true, Authorities: []identity.Identifier{a1.Identifier()}})
	if d, err := p.Check(peerOf(peer, short), anInlet, t0); err != nil ||
		d.Anchor != AnchorAuthority ||
		d.Attributes["role"] != "db" {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := p.Check(peerOf(peer), anInlet, t0); err != nil || d.Anchor != AnchorAnyone {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	id := newIdentity(t, "a").Identifier()
	missing := filepath.Join(t.TempDir(), "missing")
	bad := writeTemp(t, "bad", "\n# x\nIabc\n")
	for name, test := range map[string]struct {
		cfg  Config
		want string
	}{
		"nobody":         {Config{}, "nobody to trust"},
		"zero allow":     {Config{Allow: []identity.Identifier{{}}}, "zero Identifier"},
		"zero authority": {Config{Authorities: []identity.Identifier{{}}}, "zero Identifier"},
		"zero deny": {
			Config{Self: id, Deny: []identity.Identifier{{}}}, "zero Identifier",
		},
		"require alone": {
			Config{Self: id, Require: map[string]string{"a": "b"}}, "no authority is named",
		},
		"require never": {
			Config{Authorities: []identity.Identifier{id}, Require: map[string]string{"A": "b"}},
			"character other",
		},
		"allow file missing": {
			Config{AllowFiles: []string{missing}}, "allow file " + missing + ": ",
		},
		"deny file missing": {
			Config{Self: id, DenyFiles: []string{missing}}, "deny file " + missing,
		},
		"allow file with bad": {
			Config{AllowFiles: []string{bad}},
			"allow file " + bad + ":3: identifier has 4 characters",
		},
		"allow file a folder": {Config{AllowFiles: []string{t.TempDir()}}, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewPolicy(test.cfg)
			wantErr(t, err, nil, test.want)
		})
	}
}

// Check only asks: it redeems no ticket and remembers nobody, in memory or on disk.
func TestCheckChangesNothing(t *testing.T) {
	i := newInn(t)
	path := filepath.Join(t.TempDir(), "seen")
	known := openKnown(t, path)
	guest, friend := newIdentity(t, "guest"), newIdentity(t, "friend")
	second := rotated(t, friend, "second")
	write(t, i.allow, friend.Identifier().String()+"\n")
	before := string(read(t, i.allow))
	p := i.policy(func(c *Config) { c.Known = known })

	bearer := &identity.Peer{History: guest.History(), Ticket: ticketOf(t, i.host)}
	_, err := p.Check(bearer, anInlet, t0)
	wantErr(t, err, ErrNotTrusted, "not among the 1 allowed")
	i.untouched(before)
	if _, err := os.Stat(i.allow + spentSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a ticket was spent: %v", err)
	}
	for _, id := range []*identity.Identity{second, friend} { // the older one last
		if _, err := p.Check(peerOf(id), anInlet, t0); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) || len(known.entries) != 0 {
		t.Errorf("%d are remembered: %v", len(known.entries), err)
	}

	// Accept does both.
	for _, peer := range []*identity.Peer{bearer, peerOf(second)} {
		if _, err := p.Accept(peer, anInlet, t0); err != nil {
			t.Error(err)
		}
	}
	_, err = p.Check(peerOf(friend), anInlet, t0)
	wantErr(t, err, ErrOlderHistory, "not trusted")
	if _, err := p.Check(peerOf(guest), anInlet, t0); err != nil {
		t.Error(err)
	}
}

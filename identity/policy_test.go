package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPolicyTable is every anchor with everything that can be wrong with a peer, from
// the proof on the wire to the decision.
func TestPolicyTable(t *testing.T) {
	node, peer := newIdentity(t, "node"), newIdentity(t, "peer")
	authority, stranger := newIdentity(t, "authority"), newIdentity(t, "stranger")
	file := writeTemp(t, "allow", "# friends\n"+peer.Identifier().String()+" the peer\n")

	anchors := []struct {
		anchor Anchor
		cfg    PolicyConfig
		peer   *Identity
	}{
		{AnchorSelf, PolicyConfig{Self: node.Identifier()}, node},
		{AnchorAllow, PolicyConfig{Self: node.Identifier(), Allow: []Identifier{peer.Identifier()}}, peer},
		{AnchorAllowFile, PolicyConfig{Self: node.Identifier(), AllowFiles: []string{file}}, peer},
		{AnchorAuthority, PolicyConfig{
			Self: node.Identifier(), Authorities: []Identifier{authority.Identifier()}, Require: map[string]string{"role": "db"},
		}, peer},
		{AnchorAnyone, PolicyConfig{Self: node.Identifier(), AllowAnyone: true}, peer},
	}
	const (
		trusted = "" // else what the error says
		unproof = "identity proof"
	)
	cells := []struct {
		name   string
		at     time.Duration // after t0
		issuer *Identity
		about  *Identity // nil: the peer
		attrs  []string
		change func(credential []byte)
		proof  func(proof []byte)
		deny   func(peer Identifier) []Identifier
		is     error             // of the authority anchor
		want   map[Anchor]string // where it differs from
		others string            // what all others say
	}{
		{name: "good"},
		{name: "last instant", at: time.Hour - 1},
		{name: "expired", at: time.Hour, is: ErrExpired, want: map[Anchor]string{AnchorAuthority: "credential 1: expired at 2026-02-03T05:05:06Z"}},
		{name: "not yet valid", at: -1, is: ErrNotYetValid, want: map[Anchor]string{AnchorAuthority: "credential 1: not yet valid: it begins at 2026-02-03T04:05:06Z"}},
		{name: "wrong issuer", issuer: stranger, want: map[Anchor]string{AnchorAuthority: "credential 1: issued by " + stranger.Identifier().String() + ", who is not an authority here"}},
		{name: "issued by itself", issuer: peer, want: map[Anchor]string{AnchorAuthority: "who is not an authority here"}},
		{name: "wrong subject", about: stranger, want: map[Anchor]string{AnchorAuthority: "credential 1: about " + stranger.Identifier().String()}},
		{name: "wrong attribute", attrs: []string{"role=web"}, want: map[Anchor]string{AnchorAuthority: `attribute role is "web", required is "db"`}},
		{name: "no attribute", attrs: []string{"rolex=db"}, want: map[Anchor]string{AnchorAuthority: `it has no attribute role, required is "db"`}},
		{
			name: "flipped bit in the credential's signature", change: func(b []byte) { b[len(b)-40] ^= 4 },
			want: map[Anchor]string{AnchorAuthority: "credential 1: not signed by its authority"},
		},
		{
			name: "flipped bit in the credential's expiry", change: func(b []byte) { b[1+serialSize+hashSize+8+7] ^= 128 },
			want: map[Anchor]string{AnchorAuthority: "credential 1: not signed by its authority"},
		},
		{
			name: "flipped bit in the authority's history", change: func(b []byte) { b[len(b)-signatureSize-40] ^= 4 },
			want: map[Anchor]string{AnchorAuthority: "credential 1: not signed by its authority"},
		},
		{name: "flipped bit in the proof's signature", proof: func(b []byte) { b[len(b)-40] ^= 4 }, others: unproof},
		{name: "flipped bit in the proof's history", proof: func(b []byte) { b[50] ^= 4 }, others: unproof},
		{name: "revoked", deny: func(peer Identifier) []Identifier { return []Identifier{peer} }, others: "not trusted: denied"},
		{
			name: "authority revoked", deny: func(Identifier) []Identifier { return []Identifier{authority.Identifier()} },
			want: map[Anchor]string{AnchorAuthority: "its authority " + authority.Identifier().String() + " is denied"},
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
					denied := ""
					for _, id := range cell.deny(a.peer.Identifier()) {
						denied += id.String() + "\n"
					}
					cfg.DenyFiles = []string{writeTemp(t, "deny", denied)}
				}
				credential := issued(t, issuer, about.Identifier(), attrs...).Bytes()
				if cell.change != nil {
					cell.change(credential)
				}
				d, err := decideFromProof(t, newPolicy(t, cfg), a.peer, credential, cell.proof, t0.Add(cell.at))
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

func decideFromProof(t *testing.T, p *Policy, id *Identity, credential []byte, spoil func([]byte), now time.Time) (Decision, error) {
	t.Helper()
	proof, err := id.Prove(Initiator, testHash, [][]byte{credential})
	if err != nil {
		t.Fatal(err)
	}
	if spoil != nil {
		spoil(proof)
	}
	peer, err := VerifyProof(Initiator, testHash, proof)
	if err != nil {
		return Decision{}, err
	}
	return p.Check(peer, now)
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
	if d.Where != where || !d.Until.Equal(until) || !maps.Equal(d.Attributes, attributes) || (d.Credential != nil) != (anchor == AnchorAuthority) {
		t.Errorf("the decision is %+v", d)
	}
}

// Every anchor refuses one whom it does not name, and says why.
func TestPolicyRefusesOthers(t *testing.T) {
	node, friend, stranger := newIdentity(t, "node"), newIdentity(t, "friend"), newIdentity(t, "stranger")
	file := writeTemp(t, "allow", friend.Identifier().String()+"\n")
	authority := newIdentity(t, "authority").Identifier()
	for _, test := range []struct {
		cfg  PolicyConfig
		who  *Identity
		want string
	}{
		{PolicyConfig{Self: node.Identifier()}, stranger, "not our own identity, and no other is allowed"},
		{PolicyConfig{Allow: []Identifier{friend.Identifier()}}, stranger, "not among the 1 allowed"},
		{PolicyConfig{AllowFiles: []string{file}}, stranger, "not among the 1 allowed"},
		{PolicyConfig{Authorities: []Identifier{authority}}, stranger, "not trusted: no credential was shown"},
		{PolicyConfig{Allow: []Identifier{friend.Identifier()}, Authorities: []Identifier{authority}}, stranger, "not among the 1 allowed; no credential was shown"},
		// Self is not implied once another is named.
		{PolicyConfig{Self: node.Identifier(), Allow: []Identifier{friend.Identifier()}}, node, "not among the 1 allowed"},
		{PolicyConfig{Self: node.Identifier(), AllowFiles: []string{file}}, node, "not among the 1 allowed"},
		{PolicyConfig{Self: node.Identifier(), Authorities: []Identifier{authority}}, node, "no credential was shown"},
		// Deny wins over all.
		{PolicyConfig{Self: node.Identifier(), Deny: []Identifier{node.Identifier()}}, node, "denied"},
		{PolicyConfig{AllowAnyone: true, DenyFiles: []string{file}}, friend, "denied by " + file + ":1"},
	} {
		_, err := newPolicy(t, test.cfg).Check(peerOf(test.who), t0)
		wantErr(t, err, ErrNotTrusted, test.want)
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("the reason is not one line: %q", err)
		}
	}
	p := newPolicy(t, PolicyConfig{AllowAnyone: true})
	for _, peer := range []*Peer{nil, {}} {
		_, err := p.Check(peer, t0)
		wantErr(t, err, ErrNotTrusted, "has not proved")
	}
}

func TestPolicyCredentials(t *testing.T) {
	peer, a1, a2 := newIdentity(t, "peer"), newIdentity(t, "a1"), newIdentity(t, "a2")
	issue := func(by *Identity, life time.Duration, attributes map[string]string) *Credential {
		c, err := by.Issue(nil, Claims{peer.Identifier(), attributes, t0, t0.Add(life)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	p := newPolicy(t, PolicyConfig{
		Authorities: []Identifier{a1.Identifier(), a2.Identifier()},
		Require:     map[string]string{"role": "db", "zone": "eu"},
	})
	both := map[string]string{"role": "db", "zone": "eu"}
	// Two halves do not make a whole.
	_, err := p.Check(peerOf(peer, issue(a1, time.Hour, map[string]string{"role": "db"}), issue(a2, time.Hour, map[string]string{"zone": "eu"})), t0)
	wantErr(t, err, ErrNotTrusted, "credential 1: it has no attribute zone")
	wantErr(t, err, ErrNotTrusted, "credential 2: it has no attribute role")
	// The one that lives longest counts, wherever it stands.
	short, long := issue(a1, time.Hour, both), issue(a2, 2*time.Hour, both)
	for _, shown := range [][]*Credential{{short, long}, {long, short}} {
		d, err := p.Check(peerOf(peer, shown...), t0)
		if err != nil || d.Credential != long || !d.Until.Equal(t0.Add(2*time.Hour)) {
			t.Errorf("%+v, %v", d, err)
		}
		if _, err := p.Check(peerOf(peer, shown...), d.Until); !errors.Is(err, ErrExpired) {
			t.Errorf("at Until: %v", err)
		}
		if _, err := p.Check(peerOf(peer, shown...), d.Until.Add(-1)); err != nil {
			t.Errorf("just before Until: %v", err)
		}
	}
	// An authority may be trusted together with anyone: its attributes are still told.
	p = newPolicy(t, PolicyConfig{AllowAnyone: true, Authorities: []Identifier{a1.Identifier()}})
	if d, err := p.Check(peerOf(peer, short), t0); err != nil || d.Anchor != AnchorAuthority || d.Attributes["role"] != "db" {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := p.Check(peerOf(peer), t0); err != nil || d.Anchor != AnchorAnyone {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	id := newIdentity(t, "a").Identifier()
	missing := filepath.Join(t.TempDir(), "missing")
	bad := writeTemp(t, "bad", "\n# x\nIabc\n")
	for name, test := range map[string]struct {
		cfg  PolicyConfig
		want string
	}{
		"nobody":              {PolicyConfig{}, "nobody to trust"},
		"zero allow":          {PolicyConfig{Allow: []Identifier{{}}}, "zero Identifier"},
		"zero authority":      {PolicyConfig{Authorities: []Identifier{{}}}, "zero Identifier"},
		"zero deny":           {PolicyConfig{Self: id, Deny: []Identifier{{}}}, "zero Identifier"},
		"require alone":       {PolicyConfig{Self: id, Require: map[string]string{"a": "b"}}, "no authority is named"},
		"require never":       {PolicyConfig{Authorities: []Identifier{id}, Require: map[string]string{"A": "b"}}, "character other"},
		"allow file missing":  {PolicyConfig{AllowFiles: []string{missing}}, "allow file " + missing + ": "},
		"deny file missing":   {PolicyConfig{Self: id, DenyFiles: []string{missing}}, "deny file " + missing},
		"allow file with bad": {PolicyConfig{AllowFiles: []string{bad}}, "allow file " + bad + ":3: identifier has 4 characters"},
		"allow file a folder": {PolicyConfig{AllowFiles: []string{t.TempDir()}}, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewPolicy(test.cfg)
			wantErr(t, err, nil, test.want)
		})
	}
}

// fileStory is a policy with an allow file and a deny file, and two peers.
type fileStory struct {
	*Policy
	t           *testing.T
	allow, deny string
	a, b        *Identity
}

func newFileStory(t *testing.T) *fileStory {
	s := &fileStory{t: t, a: newIdentity(t, "a"), b: newIdentity(t, "b")}
	s.allow = writeTemp(t, "allow", s.a.Identifier().String()+"\n")
	s.deny = writeTemp(t, "deny", "# nobody\n")
	s.Policy = newPolicy(t, PolicyConfig{AllowFiles: []string{s.allow}, DenyFiles: []string{s.deny}})
	return s
}

// trusts fails unless just those are trusted.
func (s *fileStory) trusts(a, b bool) {
	s.t.Helper()
	_, errA := s.Check(peerOf(s.a), t0)
	_, errB := s.Check(peerOf(s.b), t0)
	if (errA == nil) != a || (errB == nil) != b {
		s.t.Fatalf("trusted are a: %v, b: %v; want %v, %v", errA == nil, errB == nil, a, b)
	}
}

// changes fails unless do closes the channel of changes, or does not.
func (s *fileStory) changes(want bool, do func() error) error {
	s.t.Helper()
	changed := s.Changed()
	err := do()
	select {
	case <-changed:
		if !want {
			s.t.Error("a change was told that is none")
		}
	default:
		if want {
			s.t.Error("a change was not told")
		}
	}
	return err
}

// Both ways of reading the files again behave alike, but for what Poll leaves out.
func TestPolicyFiles(t *testing.T) {
	for name, reread := range map[string]func(*fileStory) error{
		"Reload": func(s *fileStory) error { return s.Reload() },
		"Poll":   func(s *fileStory) error { return s.Poll() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFileStory(t)
			again := func() error { return reread(s) }
			ok := func(changed bool) {
				t.Helper()
				if err := s.changes(changed, again); err != nil {
					t.Fatal(err)
				}
			}
			s.trusts(true, false)
			ok(false)
			write(t, s.allow, s.b.Identifier().String()+"\n") // same size, same inode
			ok(true)
			s.trusts(false, true)
			write(t, s.allow, "# moved\n\n"+s.b.Identifier().String()+" with a comment\n")
			ok(false)
			if d, err := s.Check(peerOf(s.b), t0); err != nil || d.Where != s.allow+":3" {
				t.Errorf("%+v, %v", d, err)
			}
			write(t, s.deny, s.b.Identifier().String()+"\n")
			ok(true)
			s.trusts(false, false)

			// One file is bad: it keeps its list, and the other is read all the same.
			write(t, s.allow, s.a.Identifier().String()+"\nnonsense\n")
			write(t, s.deny, "#\n")
			err := s.changes(true, again)
			wantErr(t, err, nil, "allow file "+s.allow+":2: identifier has 8 characters")
			wantErr(t, err, nil, "the list read before stays in force")
			s.trusts(false, true)

			// Both are gone: both lists stay.
			write(t, s.deny, s.a.Identifier().String()+"\n")
			write(t, s.allow, s.a.Identifier().String()+"\n"+s.b.Identifier().String()+"\n")
			ok(true)
			s.trusts(false, true)
			for _, f := range []string{s.allow, s.deny} {
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
			err = s.changes(false, again)
			wantErr(t, err, os.ErrNotExist, "the list read before stays in force")
			wantErr(t, err, os.ErrNotExist, "deny file "+s.deny)
			s.trusts(false, true)

			// They come back.
			write(t, s.allow, s.a.Identifier().String()+"\n")
			write(t, s.deny, "\n")
			ok(true)
			s.trusts(true, false)
		})
	}
}

// Poll tells of an error once, and again when it is another or has been gone.
func TestPollTellsOnce(t *testing.T) {
	s := newFileStory(t)
	for range 2 {
		write(t, s.allow, "nonsense\n")
		wantErr(t, s.Poll(), nil, ":1:")
		for range 3 {
			if err := s.Poll(); err != nil {
				t.Fatalf("told again: %v", err)
			}
		}
		write(t, s.allow, "\nnonsense\n")
		wantErr(t, s.Poll(), nil, ":2:")
		write(t, s.allow, s.a.Identifier().String()+"\n")
		if err := s.Poll(); err != nil {
			t.Fatal(err)
		}
	}
	s.trusts(true, false)
	wantErr(t, func() error { write(t, s.allow, "x"); _ = s.Reload(); return s.Reload() }(), nil, ":1:")
}

// A file that somebody empties to write it anew does not lock everybody out meanwhile;
// one that stays empty does.
func TestPollOfEmptiedFile(t *testing.T) {
	s := newFileStory(t)
	for i := range 2 {
		write(t, s.allow, "")
		if err := s.changes(false, s.Poll); err != nil {
			t.Fatal(err)
		}
		s.trusts(true, i > 0)
		write(t, s.allow, s.a.Identifier().String()+"\n"+s.b.Identifier().String()+"\n")
		if err := s.Poll(); err != nil {
			t.Fatal(err)
		}
		s.trusts(true, true)
	}
	write(t, s.allow, "")
	_ = s.changes(false, s.Poll)
	_ = s.changes(true, s.Poll)
	s.trusts(false, false)
}

// A file is read again only if something about it is different, once it has settled.
func TestPollReadsWhatChanged(t *testing.T) {
	s := newFileStory(t)
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	age := func(path string) {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	// Just written: two writes within a tick of the clock look the same, but are not.
	info, err := os.Stat(s.allow)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.allow, s.b.Identifier().String()+"\n")
	if err := os.Chtimes(s.allow, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	_ = s.changes(true, s.Poll)
	s.trusts(false, true)
	write(t, s.allow, s.a.Identifier().String()+"\n")
	age(s.allow)
	if err := s.Poll(); err != nil {
		t.Fatal(err)
	}
	other := s.b.Identifier().String() + "\n"
	write(t, s.allow, other)
	age(s.allow) // all that is compared is as it was
	_ = s.changes(false, s.Poll)
	s.trusts(true, false)
	_ = s.changes(true, s.Reload)
	s.trusts(false, true)

	renamed := s.allow + ".new" // another inode, the same time and size
	write(t, renamed, s.a.Identifier().String()+"\n")
	age(renamed)
	if err := os.Rename(renamed, s.allow); err != nil {
		t.Fatal(err)
	}
	_ = s.changes(true, s.Poll)
	s.trusts(true, false)
}

const patience = 3 * time.Minute // only a hung test meets it

func TestRun(t *testing.T) {
	s := newFileStory(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	told := make(chan error, 10)
	go func() { ended <- s.Run(ctx, 0, func(err error) { told <- err }) }()
	changed := s.Changed()
	if err := AddToAllowFile(s.allow, s.b.Identifier(), "b"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-time.After(patience):
		t.Fatal("a change was not noticed")
	}
	s.trusts(true, true)
	write(t, s.allow, "nonsense")
	select {
	case err := <-told:
		wantErr(t, err, nil, "allow:1: ")
	case <-time.After(patience):
		t.Fatal("an error was not told")
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
	idle := newPolicy(t, PolicyConfig{AllowAnyone: true})
	if err := idle.Run(ctx, 0, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Run without files returned %v", err)
	}
}

// Checks go on while files are read; meant for the race detector.
func TestPolicyConcurrent(t *testing.T) {
	s := newFileStory(t)
	second := rotated(t, s.a, "second")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 50 {
				_, _ = s.Check(peerOf(s.a), t0)
				_, _ = s.Check(peerOf(second), t0)
				<-closedOrNot(s.Changed())
				if i == 0 {
					write(t, s.allow, strings.Repeat(s.a.Identifier().String()+"\n", i+1))
				}
				_ = s.Poll()
			}
		})
	}
	wg.Wait()
}

func closedOrNot(c <-chan struct{}) <-chan struct{} {
	select {
	case <-c:
	default:
		done := make(chan struct{})
		close(done)
		return done
	}
	return c
}

func TestListFile(t *testing.T) {
	a, b := newIdentity(t, "a").Identifier(), newIdentity(t, "b").Identifier()
	got, err := parseList("# head\r\n\r\n \t\n  " + a.String() + "\r\n" + b.String() + "\tsome # comment\n" + a.String() + " again\n#" + a.String())
	if err != nil || !maps.Equal(got, map[Identifier]int{a: 4, b: 5}) {
		t.Errorf("%v, %v", got, err)
	}
	for text, want := range map[string]string{
		"x":                                "line 1",
		"\n\n" + a.String() + "#x":         "line 3: identifier has 67 characters",
		a.String() + "," + b.String():      "line 1: identifier has 131 characters",
		a.String() + "\n" + a.String()[1:]: "line 2: identifier has 64 characters",
		"# \xff":                           "line 1: not text",
		"# \x00":                           "line 1: not text",
		"#" + strings.Repeat("x", 1024):    "line 1: line has 1025 bytes",
		"\ufeff" + a.String():              "line 1: identifier has",
	} {
		_, err := parseList(text)
		wantErr(t, err, nil, want)
	}
	big := writeTemp(t, "big", strings.Repeat("#\n", MaxListFile/2)+"\n")
	_, err = NewPolicy(PolicyConfig{AllowFiles: []string{big}})
	wantErr(t, err, nil, "at most 4194304")
}

func TestAddToAllowFile(t *testing.T) {
	a, b := newIdentity(t, "a").Identifier(), newIdentity(t, "b").Identifier()
	dir := t.TempDir()
	path := filepath.Join(dir, "allow")
	add := func(id Identifier, comment, want string) {
		t.Helper()
		if err := AddToAllowFile(path, id, comment); err != nil {
			t.Fatal(err)
		}
		if got := string(read(t, path)); got != want {
			t.Fatalf("the file is\n%q, want\n%q", got, want)
		}
	}
	add(a, "Ann's laptop", a.String()+" Ann's laptop\n")
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	add(a, "again", a.String()+" Ann's laptop\n")
	before := "# head\r\n\n  " + a.String() + " no line feed"
	write(t, path, before)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	add(b, "", before+"\n"+b.String()+"\n")
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o644 {
		t.Errorf("the mode was changed to %v, %v", info.Mode(), err)
	}
	write(t, path, "")
	add(b, "x", b.String()+" x\n")

	for comment, want := range map[string]string{
		"two\nlines": "comment", "\x1b[2J": "comment", strings.Repeat("x", 257): "comment", "\xff": "comment",
	} {
		wantErr(t, AddToAllowFile(path, a, comment), nil, want)
	}
	wantErr(t, AddToAllowFile(path, Identifier{}, ""), errZero, "allow file")
	write(t, path, "nonsense\n")
	wantErr(t, AddToAllowFile(path, a, ""), nil, "line 1")
	if got := string(read(t, path)); got != "nonsense\n" {
		t.Errorf("a file with an error was changed: %q", got)
	}
	wantErr(t, AddToAllowFile(dir, a, ""), errNotRegular, dir)
	wantErr(t, AddToAllowFile(filepath.Join(dir, "no", "allow"), a, ""), os.ErrNotExist, "allow file")
	full := bytes.Repeat([]byte("#\n"), MaxListFile/2)
	write(t, path, string(full))
	wantErr(t, AddToAllowFile(path, a, ""), nil, "more than 4194304")
}

func TestAddToAllowFileConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "allow")
	var wg sync.WaitGroup
	const n = 32
	for i := range n {
		id := Identifier{byte(i + 1)}
		for range 2 {
			wg.Go(func() {
				if err := AddToAllowFile(path, id, fmt.Sprint("number ", i)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	ids, err := parseList(string(read(t, path)))
	if err != nil || len(ids) != n || strings.Count(string(read(t, path)), "\n") != n {
		t.Errorf("%d identities, %v, want %d:\n%s", len(ids), err, n, read(t, path))
	}
}

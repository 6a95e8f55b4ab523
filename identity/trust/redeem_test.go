package trust

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
)

// inn is a node that redeems tickets: its policy, its files and an open door for one who is named.
type inn struct {
	*Policy
	t     *testing.T
	host  *identity.Identity
	allow string
	deny  string

	elsewhere error // the ticket is not for here
}

func newInn(t *testing.T) *inn {
	i := &inn{
		t:     t,
		host:  newIdentity(t, "host"),
		allow: writeTemp(t, "allow", "# guests\n"),
		deny:  writeTemp(t, "deny", ""),
	}
	i.Policy = i.policy(nil)
	return i
}

func (i *inn) policy(change func(*Config)) *Policy {
	cfg := Config{
		Self: i.host.Identifier(), AllowFiles: []string{i.allow}, DenyFiles: []string{i.deny},
		TicketIssuer: func() *identity.History { return i.host.History() },
		TicketRoute:  func(route string) error { return i.elsewhere },
	}
	if change != nil {
		change(&cfg)
	}
	return newPolicy(i.t, cfg)
}

// untouched fails if anything was written for one who was refused.
func (i *inn) untouched(before string) {
	i.t.Helper()
	if got := string(read(i.t, i.allow)); got != before {
		i.t.Errorf("the allow file was %q and is %q", before, got)
	}
}

func (i *inn) spent() int {
	files, err := os.ReadDir(i.allow + spentSuffix)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		i.t.Fatal(err)
	}
	return len(files)
}

// TestTicketTable is everything that can be wrong with a ticket or with its bearer.
func TestTicketTable(t *testing.T) {
	guest, stranger := newIdentity(t, "guest"), newIdentity(t, "stranger")
	for name, cell := range map[string]struct {
		at     time.Duration
		issuer func(host *identity.Identity) *identity.Identity
		spoil  func([]byte)
		before func(*inn)
		want   string
		is     error
		gone   bool // the ticket is good, and spent although nobody is let in
	}{
		"good":         {},
		"last instant": {at: 10*time.Minute - 1},
		"expired": {
			at: 10 * time.Minute, want: "expired at 2026-02-03T04:15:06Z", is: identity.ErrExpired,
		},
		"wrong issuer": {
			issuer: func(*identity.Identity) *identity.Identity { return stranger },
			want:   "issued by " + stranger.Identifier().String() + ", not by this node",
		},
		"older key of the issuer": {
			issuer: func(host *identity.Identity) *identity.Identity { return host },
			before: func(i *inn) { i.host = rotated(t, i.host, "second") },
			want:   "not signed with this node's current key",
		},
		"key that the issuer never had": {
			issuer: func(host *identity.Identity) *identity.Identity {
				return rotated(t, host, "thief")
			},
			want: "not signed with this node's current key",
		},
		"flipped bit in the signature": {
			spoil: func(b []byte) { b[len(b)-40] ^= 4 }, want: "not signed by its issuer",
		},
		"flipped bit in the expiry": {
			spoil: func(b []byte) { b[1+serialSize+6] ^= 1 }, want: "not signed by its issuer",
		},
		"flipped bit in the serial": {
			spoil: func(b []byte) { b[1] ^= 1 }, want: "not signed by its issuer",
		},
		"flipped bit in the route": {
			spoil: func(b []byte) { b[1+serialSize+8+2] ^= 1 }, want: "not signed by its issuer",
		},
		"bearer revoked": {
			before: func(i *inn) {
				write(t, i.deny, guest.Identifier().String()+"\n")
				_ = i.Reload()
			},
			want: "denied by", gone: true,
		},
		"bearer's older history": {
			before: func(i *inn) { _ = i.known.Observe(rotated(t, guest, "second").History()) },
			want:   "older than one seen before", is: ErrOlderHistory, gone: true,
		},
		"another node's": {
			before: func(i *inn) { i.elsewhere = errors.New("it is for the name db") },
			want:   ": it is for the name db",
		},
		"allow file with an error": {
			before: func(i *inn) { write(t, i.allow, "nonsense\n") },
			want:   "cannot be redeemed: allow file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newInn(t)
			issuer := i.host
			if cell.issuer != nil {
				issuer = cell.issuer(i.host)
			}
			if cell.before != nil {
				cell.before(i)
			}
			before := string(read(t, i.allow))
			raw := ticketOf(t, issuer).Bytes()
			if cell.spoil != nil {
				cell.spoil(raw)
			}
			k, err := identity.ParseTicket(raw)
			if err != nil {
				t.Fatal(err)
			}
			peer := &identity.Peer{History: guest.History(), Ticket: k}
			d, err := i.Accept(peer, anInlet, t0.Add(cell.at))
			if cell.want != "" {
				wantErr(t, err, ErrNotTrusted, cell.want)
				if cell.is != nil && !errors.Is(err, cell.is) {
					t.Errorf("%v is not %v", err, cell.is)
				}
				i.untouched(before)
				if gone := i.spent() != 0; gone != cell.gone {
					t.Errorf("the ticket is gone: %v, want %v", gone, cell.gone)
				}
				return
			}
			if err != nil || d.Anchor != AnchorAllowFile || d.Where != i.allow+":2" {
				t.Fatalf("%+v, %v", d, err)
			}
			// From now on its Identifier is enough.
			if _, err := i.Accept(peerOf(guest), anInlet, t0.Add(time.Hour)); err != nil {
				t.Error(err)
			}
			if _, err := i.Accept(peer, anInlet, t0.Add(time.Hour)); err != nil {
				t.Error(err)
			}
			// The ticket is worth nothing any more: not to another, and not to the one who had it.
			before = string(read(t, i.allow))
			_, err = i.Accept(&identity.Peer{History: stranger.History(), Ticket: k}, anInlet, t0)
			wantErr(t, err, ErrSpent, "already spent: redeemed by "+guest.Identifier().String())
			i.untouched(before)
			write(t, i.allow, "# nobody\n")
			_ = i.Reload()
			_, err = i.Accept(peer, anInlet, t0)
			wantErr(t, err, ErrSpent, guest.Identifier().String())
			i.untouched("# nobody\n")
		})
	}
}

// A ticket that is good is spent whenever it is shown, also by one whom something else makes
// trusted: when that is taken away, the ticket does not bring him back.
func TestTicketIsSpentWhenShown(t *testing.T) {
	guest := newIdentity(t, "guest")
	name := guest.Identifier().String() + "\n"
	for anchor, test := range map[string]struct {
		trust  func(*Config)
		before func(*inn)
		takes  func(*inn)
	}{
		"allow": {
			trust: func(c *Config) { c.Allow = []identity.Identifier{guest.Identifier()} },
		},
		"anyone": {trust: func(c *Config) { c.AllowAnyone = true }},
		"authority": {trust: func(c *Config) {
			c.Authorities = []identity.Identifier{newIdentity(t, "host").Identifier()}
		}},
		"allow-file": {
			before: func(i *inn) { write(t, i.allow, name) },
			takes:  func(i *inn) { write(t, i.allow, "# guests\n") },
		},
		"denied": {
			before: func(i *inn) { write(t, i.deny, name) },
			takes:  func(i *inn) { write(t, i.deny, "") },
		},
	} {
		t.Run(anchor, func(t *testing.T) {
			i := newInn(t)
			peer := &identity.Peer{History: guest.History(), Ticket: ticketOf(t, i.host)}
			peer.Credentials = []*identity.Credential{issued(t, i.host, guest.Identifier())}
			if test.before != nil {
				test.before(i)
			}
			var told []Spent
			p := i.policy(func(c *Config) {
				c.Spent = func(s Spent) { told = append(told, s) }
				if test.trust != nil {
					test.trust(c)
				}
			})
			for range 3 { // once more in each handshake for new keys
				if _, err := p.Accept(peer, anInlet, t0); (err == nil) != (anchor != "denied") {
					t.Fatal(err)
				}
			}
			if len(told) != 1 || told[0].LetIn || told[0].By != peer || told[0].Ticket != peer.Ticket {
				t.Errorf("told of %+v", told)
			}
			if test.takes != nil {
				test.takes(i)
			}
			for n, p := range []*Policy{i.policy(nil), p} {
				_ = p.Reload()
				if n == 1 && test.trust != nil {
					continue // what it was trusted by is still there
				}
				_, err := p.Accept(peer, anInlet, t0)
				wantErr(t, err, ErrSpent, "already spent: shown by "+guest.Identifier().String())
			}
			i.untouched("# guests\n")
		})
	}
}

// A review asks and writes nothing, and who redeems no tickets takes none.
func TestTicketIsLeftAlone(t *testing.T) {
	i := newInn(t)
	guest := newIdentity(t, "guest")
	peer := &identity.Peer{History: guest.History(), Ticket: ticketOf(t, i.host)}
	_, err := i.Check(peer, anInlet, t0)
	wantErr(t, err, ErrNotTrusted, "not among the 0 allowed")
	_, err = i.policy(func(c *Config) { c.TicketIssuer = nil }).Accept(peer, anInlet, t0)
	wantErr(t, err, ErrNotTrusted, "not among the 0 allowed")
	i.untouched("# guests\n")
	if i.spent() != 0 {
		t.Error("a ticket is spent")
	}
	_, err = NewPolicy(Config{
		Self: guest.Identifier(), TicketIssuer: func() *identity.History { return guest.History() },
	})
	wantErr(t, err, nil, "no allow file to put their bearers into")
}

// A ticket that cannot be spent does not let its bearer pass, by whatever else it is trusted.
func TestTicketThatCannotBeSpent(t *testing.T) {
	i := newInn(t)
	guest := newIdentity(t, "guest")
	p := i.policy(func(c *Config) { c.AllowAnyone = true })
	write(t, i.allow+spentSuffix, "a file where the folder should be")
	_, err := p.Accept(
		&identity.Peer{History: guest.History(), Ticket: ticketOf(t, i.host)},
		anInlet,
		t0,
	)
	wantErr(t, err, ErrNotTrusted, "cannot be spent")
}

func TestRevokeTicket(t *testing.T) {
	i := newInn(t)
	k := ticketOf(t, i.host)
	if err := RevokeTicket(i.allow, k, t0); err != nil {
		t.Fatal(err)
	}
	wantErr(t, RevokeTicket(i.allow, k, t0), ErrSpent, "already spent: revoked at ")
	guest := newIdentity(t, "guest")
	_, err := i.Accept(&identity.Peer{History: guest.History(), Ticket: k}, anInlet, t0)
	wantErr(t, err, ErrSpent, "already spent: revoked at ")
	i.untouched("# guests\n")
	wantErr(t, RevokeTicket(i.allow+".no", k, t0), nil, "allow file")
}

// Redeem is for those who present a ticket, and are not denied.
func TestRedeem(t *testing.T) {
	i := newInn(t)
	guest, other := newIdentity(t, "guest"), newIdentity(t, "other")
	k := ticketOf(t, i.host)
	d, err := i.Redeem(&identity.Peer{History: guest.History(), Ticket: k}, t0)
	if err != nil || d.Anchor != AnchorAllowFile || d.Where != i.allow+":2" || i.spent() != 1 {
		t.Fatalf("%+v, %v, %d spent", d, err, i.spent())
	}
	_, err = i.Redeem(&identity.Peer{History: other.History(), Ticket: k}, t0)
	wantErr(t, err, ErrSpent, "ticket ")
	denied := func(c *Config) { c.Deny = []identity.Identifier{other.Identifier()} }
	for _, refused := range []struct {
		p    *Policy
		peer *identity.Peer
	}{
		{i.Policy, nil},
		{i.Policy, peerOf(other)},
		{i.policy(denied), &identity.Peer{History: other.History(), Ticket: ticketOf(t, i.host)}},
	} {
		_, err = refused.p.Redeem(refused.peer, t0)
		wantErr(t, err, nil, "no ticket that is redeemed here")
	}
	if i.spent() != 1 {
		t.Errorf("%d tickets are spent, want 1", i.spent())
	}
}

// Of many who redeem one ticket at once, at two processes that share their files, one gets in.
func TestTicketRedeemedAtOnce(t *testing.T) {
	i := newInn(t)
	k := ticketOf(t, i.host)
	processes := []*Policy{i.policy(nil), i.policy(nil)}
	var mu sync.Mutex
	var in []identity.Identifier
	var wg sync.WaitGroup
	for n, name := range names("guest ", 8) {
		guest := newIdentity(t, name)
		wg.Go(func() {
			_, err := processes[n%2].Accept(&identity.Peer{History: guest.History(), Ticket: k}, anInlet, t0)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				in = append(in, guest.Identifier())
			case !errors.Is(err, ErrSpent):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(in) != 1 {
		t.Fatalf("%d got in", len(in))
	}
	ids, err := parseList(string(read(t, i.allow)))
	if err != nil || len(ids) != 1 || ids[in[0]] == 0 {
		t.Errorf("the allow file names %v, and %v got in: %v", ids, in, err)
	}
	// One who shows its ticket twice at once gets in twice, and is named once.
	same := &identity.Peer{History: newIdentity(t, "eager").History(), Ticket: ticketOf(t, i.host)}
	for range 8 {
		wg.Go(func() {
			if _, err := processes[0].Accept(same, anInlet, t0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(string(read(t, i.allow)), same.Identifier().String()); n != 1 {
		t.Errorf("it is named %d times", n)
	}
}

// What cannot be remembered is not redeemed, and what has expired long ago is forgotten.
func TestSpent(t *testing.T) {
	i := newInn(t)
	write(t, i.allow+spentSuffix, "a file where the folder should be")
	guest := newIdentity(t, "guest")
	_, err := i.Accept(
		&identity.Peer{History: guest.History(), Ticket: ticketOf(t, i.host)},
		anInlet,
		t0,
	)
	wantErr(t, err, ErrNotTrusted, "ticket ")
	i.untouched("# guests\n")
	if err := os.Remove(i.allow + spentSuffix); err != nil {
		t.Fatal(err)
	}
	first := ticketOf(t, i.host)
	peer := &identity.Peer{History: guest.History(), Ticket: first}
	if _, err := i.Accept(peer, anInlet, t0); err != nil {
		t.Fatal(err)
	}
	late := t0.Add(10*time.Minute + spentKept)
	for n, at := range []time.Time{late.Add(-1), late} {
		k, err := i.host.Ticket(nil, testRoute, at.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		other := newIdentity(t, names("other ", 2)[n])
		peer := &identity.Peer{History: other.History(), Ticket: k}
		if _, err := i.Accept(peer, anInlet, at); err != nil {
			t.Fatal(err)
		}
		if i.spent() != 2 {
			t.Errorf("%d are remembered, want 2", i.spent())
		}
	}
	wantErr(t, prune(i.allow+spentSuffix, late, 2), nil, "no more than that are kept")
	if err := prune(i.allow+spentSuffix, late, 3); err != nil {
		t.Error(err)
	}
}

// That no ticket can be redeemed is known before one is shown.
func TestRedeemingIsTried(t *testing.T) {
	i := newInn(t)
	if err := i.TryRedeem(); err != nil || i.spent() != 0 {
		t.Errorf("%v, %d spent", err, i.spent())
	}
	if _, err := os.Lstat(i.allow + spentSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder was made: %v", err)
	}
	write(t, i.allow+spentSuffix, "a file where the folder should be")
	if err := i.TryRedeem(); err == nil {
		t.Error("there is no folder for those that are spent")
	}
	none := newPolicy(t, Config{Self: i.host.Identifier()})
	if err := none.TryRedeem(); err != nil {
		t.Errorf("where none are redeemed: %v", err)
	}
	guest := newIdentity(t, "guest")
	claim := identity.Claim{Identifier: guest.Identifier(), Ticket: ticketOf(t, i.host)}
	wantErr(t, none.MightTrust(claim, anInlet, t0), ErrNoTickets, "without an allow file")
}

// A policy tells whom it names: what a start says about the node's own identity.
func TestNames(t *testing.T) {
	me, friend, foe := newIdentity(t, "me"), newIdentity(t, "friend"), newIdentity(t, "foe")
	file := writeTemp(t, "allow", friend.Identifier().String()+"\n")
	for name, row := range map[string]struct {
		config Config
		want   bool
	}{
		"by default":     {Config{}, true},
		"friends only":   {Config{AllowFiles: []string{file}}, false},
		"and itself":     {Config{AllowFiles: []string{file}, Allow: idsOf(me)}, true},
		"anyone":         {Config{AllowAnyone: true}, true},
		"by authorities": {Config{Authorities: idsOf(friend)}, false},
		"denied":         {Config{AllowAnyone: true, Deny: idsOf(me, foe)}, false},
	} {
		row.config.Self = me.Identifier()
		if got := newPolicy(t, row.config).Names(me.Identifier()); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func idsOf(all ...*identity.Identity) (ids []identity.Identifier) {
	for _, id := range all {
		ids = append(ids, id.Identifier())
	}
	return ids
}

// A ticket is spent once, whatever the allow file is called where it is shown, and stays spent when
// its name leads to another file.
func TestTicketOfFileWithNames(t *testing.T) {
	i := newInn(t)
	elsewhere := t.TempDir()
	if err := os.Chmod(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	link, second := filepath.Join(elsewhere, "link"), filepath.Join(elsewhere, "second")
	if err := os.Symlink(i.allow, link); err != nil {
		t.Skip(err) // who may not make links has none
	}
	if err := os.Symlink("link", second); err != nil {
		t.Fatal(err)
	}
	by := func(name string) *Policy {
		p := i.policy(func(c *Config) { c.AllowFiles = []string{name} })
		if err := p.TryRedeem(); err != nil {
			t.Error(err)
		}
		return p
	}
	people := 0
	bearer := func(ticket *identity.Ticket) *identity.Peer {
		people++
		someone := newIdentity(t, fmt.Sprint("guest ", people))
		return &identity.Peer{History: someone.History(), Ticket: ticket}
	}
	names := []string{i.allow, link, second}
	for _, first := range names {
		ticket := ticketOf(t, i.host)
		if _, err := by(first).Redeem(bearer(ticket), t0); err != nil {
			t.Fatal(err)
		}
		for _, then := range names {
			_, err := by(then).Redeem(bearer(ticket), t0)
			wantErr(t, err, ErrSpent, "redeemed by ")
		}
	}
	revoked := ticketOf(t, i.host)
	if err := RevokeTicket(i.allow, revoked, t0); err != nil {
		t.Fatal(err)
	}
	_, err := by(second).Redeem(bearer(revoked), t0)
	wantErr(t, err, ErrSpent, "revoked")

	// A list is replaced by having its name lead to another one.
	kept := ticketOf(t, i.host)
	if _, err := by(link).Redeem(bearer(kept), t0); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(writeTemp(t, "newer", ""), link); err != nil {
		t.Fatal(err)
	}
	_, err = by(link).Redeem(bearer(kept), t0)
	wantErr(t, err, ErrSpent, "redeemed by ")
}

//go:build unix

package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/internal/testenv"
	"github.com/secureportal/sp/route"
)

// briefly is how long a credential is valid that is to expire while a test looks on.
func briefly() time.Duration { return unhurried(8 * time.Second).Round(time.Second) }

func parseToken(t testing.TB, text string) *identity.Credential {
	t.Helper()
	c, err := identity.ParseCredentialText(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func eachWay(t *testing.T, f func(t *testing.T, through bool)) {
	for name, through := range map[string]bool{"direct": false, "relay": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, through)
		})
	}
}

// TestTrustAnchors has each anchor let one in and keep another out.
func TestTrustAnchors(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, through bool) {
		guest, stranger, authority := newPerson(t), newPerson(t), newPerson(t)
		list := stranger.file("allow", "# friends\n"+guest.identifier()+" the guest\n")
		t.Run("allow", func(t *testing.T) {
			d := newDoor(t, through, "--allow", guest.identifier())
			d.refuses(stranger, "not among the 1 allowed")
			d.admits(guest)
		})
		t.Run("allow-file", func(t *testing.T) {
			d := newDoor(t, through, "--allow-file", list)
			d.refuses(stranger, "not among the 1 allowed")
			d.admits(guest)
		})
		t.Run("authority", func(t *testing.T) {
			token := guest.file("token", authority.vouch(guest.identifier(), "--attr", "role=db", "--attr", "team=web"))
			d := newDoor(t, through, "--authority", authority.identifier(), "--require", "role=db", "--require", "team=web")
			d.refuses(stranger, "no credential was presented")
			d.refuses(guest, "no credential was presented")
			d.admits(guest, "--credential", token)
		})
	})
}

// TestTrustRefusals are credentials that are worth nothing.
func TestTrustRefusals(t *testing.T) {
	t.Parallel()
	guest, authority, impostor := newPerson(t), newPerson(t), newPerson(t)
	id := guest.identifier()
	denied := authority.file("deny", "# nobody\n")
	d := newDoor(t, false, "--authority", authority.identifier(), "--require", "role=db", "--deny-file", denied)
	for reason, token := range map[string]string{
		"issued by " + impostor.identifier(): impostor.vouch(id, "--attr", "role=db"),
		"expired at":                         authority.vouch(id, "--attr", "role=db", "--not-before", "-2h", "--expires", "1h"),
		"not yet valid":                      authority.vouch(id, "--attr", "role=db", "--not-before", "1h"),
		`attribute role is \"web\"`:          authority.vouch(id, "--attr", "role=web"),
		"it has no attribute role":           authority.vouch(id, "--attr", "roles=db"),
	} {
		d.refuses(guest, reason, "--credential", guest.file("token", token))
	}
	good := guest.file("token", authority.vouch(id, "--attr", "role=db"))
	d.admits(guest, "--credential", good)
	authority.file("deny", id+"\n")
	d.outlet.says("the lists have changed")
	d.refuses(guest, "denied by "+denied+":1", "--credential", good)

	r := impostor.run(d.inletArgs("--credential", good)...)
	if r.code != failed || !strings.Contains(r.stderr, "it is about "+id) {
		t.Errorf("a credential of somebody else's is shown: %+v", r)
	}
	d.untouched()
}

// TestTrustEnds cuts a transfer in flight for each reason that there is.
func TestTrustEnds(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, through bool) {
		t.Run("removal", func(t *testing.T) {
			guest := newPerson(t)
			list := guest.file("allow", guest.identifier()+"\n")
			d := newDoor(t, through, "--allow-file", list)
			d.admits(guest)
			f := d.transfer()
			since := time.Now()
			guest.file("allow", "# nobody\n")
			f.isCut(since)
			d.refuses(guest, "not among the 0 allowed")
			guest.file("allow", guest.identifier()+"\n")
			d.admits(guest)
		})
		t.Run("denial", func(t *testing.T) {
			guest := newPerson(t)
			denied := guest.file("deny", "")
			d := newDoor(t, through, "--allow", guest.identifier(), "--deny-file", denied)
			d.admits(guest)
			f := d.transfer()
			since := time.Now()
			guest.file("deny", guest.identifier()+"\n")
			f.isCut(since)
			d.refuses(guest, "denied by "+denied+":1")
		})
		t.Run("expiry", func(t *testing.T) {
			guest, authority := newPerson(t), newPerson(t)
			d := newDoor(t, through, "--authority", authority.identifier())
			token := authority.vouch(guest.identifier(), "--expires", briefly().String())
			d.admits(guest, "--credential", guest.file("token", token))
			d.transfer().isCut(parseToken(t, token).Expires())
			d.refuses(guest, "expired at", "--credential", filepath.Join(guest.home, "token"))
		})
	})
	t.Run("expiry of the outlet's", func(t *testing.T) {
		t.Parallel()
		guest, authority := newPerson(t), newPerson(t)
		host := newPerson(t)
		token := authority.vouch(host.identifier(), "--expires", briefly().String())
		d := newTopology(t, plan{who: host, outlet: []string{
			"--allow", guest.identifier(), "--credential", host.file("token", token),
		}})
		d.connected(guest.start("inlet", "--listen", anywhere, "--to", d.route(), "--authority", authority.identifier()))
		d.transfer().isCut(parseToken(t, token).Expires())
		d.inlet.says("expired at")
	})
}

// TestTrustEndsForTheStuck cuts off those, too, who neither read nor write at that moment.
func TestTrustEndsForTheStuck(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"to the target", "to the client"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			guest := newPerson(t)
			list := guest.file("allow", guest.identifier()+"\n")
			d := newDoor(t, false, "--allow-file", list)
			d.admits(guest)
			client, target := d.open()
			sender, stuck := client, target
			if way == "to the client" {
				sender, stuck = target, client
			}
			fill(t, sender)
			guest.file("allow", "")
			d.outlet.says("the lists have changed")
			since := time.Now()
			resetUnread(t, stuck)
			if limit := testenv.OfFull(cutLimit+cutSlack, cutLimit); !inTime(since, limit) {
				t.Errorf("who neither reads nor writes was cut off %v after trust ended", time.Since(since))
			}
		})
	}
}

// TestCredentialRenewed replaces a credential before it ends, and nothing is cut.
func TestCredentialRenewed(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"inlet", "outlet"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			host, guest, authority := newPerson(t), newPerson(t), newPerson(t)
			shower := guest
			hostFlags := []string{"--authority", authority.identifier()}
			guestFlags := []string{"--allow", host.identifier()}
			if side == "outlet" {
				shower = host
				hostFlags = []string{"--allow", guest.identifier()}
				guestFlags = []string{"--authority", authority.identifier()}
			}
			life := briefly()
			token := authority.vouch(shower.identifier(), "--expires", life.String())
			show := []string{"--credential", shower.file("token", token)}
			if side == "outlet" {
				hostFlags = append(hostFlags, show...)
			} else {
				guestFlags = append(guestFlags, show...)
			}
			d := newTopology(t, plan{who: host, outlet: hostFlags})
			d.connected(guest.start(append([]string{"inlet", "--listen", anywhere, "--to", d.route()}, guestFlags...)...))
			f := d.transfer()
			second := authority.vouch(shower.identifier(), "--expires", (life * 7 / 4).String())
			shower.file("token", second)
			f.goesOn(parseToken(t, token).Expires().Add(2 * time.Second))
			f.isCut(parseToken(t, second).Expires())
		})
	}
}

// TestListWithError keeps what was read before, and says so.
func TestListWithError(t *testing.T) {
	t.Parallel()
	guest := newPerson(t)
	list := guest.file("allow", guest.identifier()+"\n")
	d := newDoor(t, false, "--allow-file", list)
	d.admits(guest)
	f := d.transfer()
	guest.file("allow", "# now nobody\nnonsense\n")
	d.outlet.says("allow:2: identifier has 8 characters, want 65: the list read before stays in force")
	d.outlet.signal(syscall.SIGHUP)
	d.outlet.says("reading all files again")
	d.admits(guest)
	if err := os.Remove(list); err != nil {
		t.Fatal(err)
	}
	d.outlet.says("no such file or directory: the list read before stays in force")
	d.admits(guest)
	f.goesOn(time.Now())
	since := time.Now()
	guest.file("allow", "")
	f.isCut(since)
}

// TestHangup reads a list again at once, even one that looks as it did.
func TestHangup(t *testing.T) {
	t.Parallel()
	guest, other := newPerson(t), newPerson(t)
	list := guest.file("allow", guest.identifier()+"\n")
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	age := func() {
		if err := os.Chtimes(list, old, old); err != nil {
			t.Fatal(err)
		}
	}
	age()
	d := newDoor(t, false, "--allow-file", list)
	d.admits(guest)
	f := d.transfer()
	b, err := os.OpenFile(list, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.WriteString(other.identifier())
	if err = errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	age()
	since := time.Now()
	d.outlet.signal(syscall.SIGHUP)
	f.isCut(since)
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRotation refuses keys that were given up, and histories that went another way.
func TestRotation(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, through bool) {
		guest := newPerson(t)
		id := guest.identifier()
		key := filepath.Join(guest.home, ".config", "sp", "identity")
		old, fork := filepath.Join(guest.home, "old"), filepath.Join(guest.home, "fork")
		copyFile(t, key, old)
		copyFile(t, key, fork)
		if got := guest.must("identity", "rotate"); got != id {
			t.Fatalf("the Identifier was %s and is %s", id, got)
		}
		guest.must("identity", "rotate", fork)
		if lines := strings.Count(guest.must("identity", "show", "--full"), "\n"); lines != 2 {
			t.Errorf("the history has %d lines, want one for each key", lines)
		}
		d := newDoor(t, through, "--allow", id)
		d.admits(guest, "--identity", old) // nobody has seen the new one
		d.admits(guest)
		d.refuses(guest, "its history is older than one seen before: it has 1 of 2 changes", "--identity", old)
		d.refuses(guest, "its history contradicts one seen before", "--identity", fork)
		d.admits(guest)
		d.outlet.kill()
		d.beginOutlet() // what was seen is on the disk
		d.refuses(guest, "its history is older than one seen before", "--identity", old)
		d.refuses(guest, "its history contradicts one seen before", "--identity", fork)
		d.admits(guest)
	})
}

// TestRotationOfOneself keeps a key that was given up out of one's own outlet, which has not met anybody yet.
func TestRotationOfOneself(t *testing.T) {
	t.Parallel()
	me, thief := newPerson(t), newPerson(t)
	me.identifier() // is made
	key := filepath.Join(me.home, ".config", "sp", "identity")
	stolen := filepath.Join(thief.home, "stolen")
	copyFile(t, key, stolen)
	me.must("identity", "rotate")
	d := newTopology(t, plan{who: me})
	d.refuses(thief, "its history is older than one seen before", "--identity", stolen)
	d.admits(me)
	copyFile(t, stolen, key) // a copy that was forgotten somewhere
	me.start(d.inletArgs()...).says("take the identity file from where it was rotated")
}

// TestRotationWhileRunning gives an outlet a new key in the middle of a transfer.
func TestRotationWhileRunning(t *testing.T) {
	t.Parallel()
	guest := newPerson(t)
	d := newDoor(t, false, "--allow", guest.identifier())
	old := d.home + "/old"
	copyFile(t, d.home+"/.config/sp/identity", old)
	d.admits(guest)
	f := d.transfer()
	d.must("identity", "rotate")
	d.outlet.says("the identity has a new key")
	for seen := ""; !strings.Contains(seen, d.identifier()); { // the running inlet learns of it
		f.goesOn(time.Now().Add(10 * time.Millisecond))
		b, _ := os.ReadFile(guest.home + "/.local/state/sp/seen")
		seen = string(b)
	}
	d.admits(guest)
	f.goesOn(time.Now())
	d.outlet.kill()
	d.plan.outlet = append(d.plan.outlet, "--identity", old)
	d.beginOutlet()
	r := guest.run(d.inletArgs("--no-wait")...)
	if r.code != notTrusted || !strings.Contains(r.stderr, "its history is older than one seen before") {
		t.Errorf("the outlet with the old key: %+v", r)
	}
}

// intruder is a client that shows what sp itself would not.
type intruder struct {
	t    testing.TB
	id   *identity.Identity
	host identity.Identifier
}

func newIntruder(t testing.TB, d *topology) *intruder {
	t.Helper()
	id, err := identity.New(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	host, err := identity.ParseIdentifier(d.identifier())
	if err != nil {
		t.Fatal(err)
	}
	return &intruder{t, id, host}
}

// tries returns what comes of a handshake with a credential or a ticket that may be anything.
func (i *intruder) tries(d *topology, credential, ticket []byte) error {
	i.t.Helper()
	trust, err := trust.NewPolicy(trust.Config{Allow: []identity.Identifier{i.host}})
	if err != nil {
		i.t.Fatal(err)
	}
	config := channel.Config{Identity: i.id, Trust: trust}
	if credential != nil {
		config.Credentials = func() [][]byte { return [][]byte{credential} }
	}
	if ticket != nil {
		config.Ticket = func(identity.Identifier) []byte { return ticket }
	}
	node, err := route.NewNode(route.Config{Channel: config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		i.t.Fatal(err)
	}
	defer node.Close()
	to, err := route.Parse(d.route())
	if err != nil {
		i.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(i.t.Context(), patience)
	defer cancel()
	_, err = node.Session(ctx, to)
	return err
}

func (i *intruder) isRefused(d *topology, credential, ticket []byte, reason string) {
	i.t.Helper()
	before := d.outlet.said(reason)
	if err := i.tries(d, credential, ticket); !errors.Is(err, channel.ErrRefusedByPeer) {
		i.t.Fatalf("want a refusal because %q, got: %v", reason, err)
	}
	d.outlet.saysAgain(reason, before)
}

// flips calls try with b after a flip of one bit in each byte, unless that does not even decode: such a one cannot be
// sent by this implementation, and identity's tests send it.
func flips(b []byte, decodes func([]byte) error, try func([]byte)) {
	random := rand.New(rand.NewPCG(1, 2))
	for at := range b {
		flipped := bytes.Clone(b)
		flipped[at] ^= 1 << random.IntN(8)
		if decodes(flipped) == nil {
			try(flipped)
		}
	}
}

// TestIntruder shows the outlet credentials and tickets that sp would not show.
func TestIntruder(t *testing.T) {
	t.Parallel()
	host, authority, friend := newPerson(t), newPerson(t), newPerson(t)
	list := host.file("allow", "# guests\n")
	d := newTopology(t, plan{who: host, outlet: []string{
		"--handshake-rate", "100000", "--log-level", "debug", // which has every refusal
		"--allow-file", list, "--authority", authority.identifier(),
	}})
	i := newIntruder(t, d)
	id := i.id.Identifier().String()

	i.isRefused(d, parseToken(t, authority.vouch(friend.identifier())).Bytes(), nil, "credential 1: about "+friend.identifier())
	good := parseToken(t, authority.vouch(id)).Bytes()
	flips(good, func(b []byte) error { _, err := identity.ParseCredential(b); return err }, func(b []byte) {
		i.isRefused(d, b, nil, "not trusted: not among the 0 allowed; credential 1: ")
	})

	text := d.must("ticket", "create", "--to", d.route(), "--expires", "1h")
	ticket, err := identity.ParseTicketText(text)
	if err != nil {
		t.Fatal(err)
	}
	flips(ticket.Bytes(), func(b []byte) error { _, err := identity.ParseTicket(b); return err }, func(b []byte) {
		i.isRefused(d, nil, b, "not among the 0 allowed; no credential was presented; ticket ")
	})
	late := loadKey(t, d.home+"/.config/sp/identity")
	expired, err := late.Ticket(nil, ticket.Route(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	i.isRefused(d, nil, expired.Bytes(), "expired at")
	r := friend.run("inlet", "--listen", "-", "--ticket", expired.String())
	if r.code != notTrusted || !strings.Contains(r.stderr, "the ticket expired at") {
		t.Errorf("an expired ticket is shown: %+v", r)
	}
	foreign, err := i.id.Ticket(nil, ticket.Route(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	i.isRefused(d, nil, foreign.Bytes(), "issued by "+id+", not by this node")

	host.contains(list, "# guests\n")
	if _, err := os.Stat(list + ".spent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was redeemed: %v", err)
	}
	d.untouched()
	// Neither of the two was harmed by all this.
	if err := i.tries(d, good, nil); err != nil {
		t.Error(err)
	}
	if err := i.tries(d, nil, ticket.Bytes()); err != nil {
		t.Error(err)
	}
	newIntruder(t, d).isRefused(d, nil, ticket.Bytes(), "already spent: redeemed by "+id)
}

func loadKey(t testing.TB, path string) *identity.Identity {
	t.Helper()
	id, err := identity.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestTicket redeems one, and nobody else does.
func TestTicket(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, through bool) {
		host, guest, thief := newPerson(t), newPerson(t), newPerson(t)
		list := host.file("allow", "# guests\n")
		d := newDoor(t, through, "--allow-file", list)
		d.refuses(guest, "not among the 0 allowed")
		ticket := d.must("ticket", "create", "--to", d.route(), "--expires", "10m")
		with := []string{"inlet", "--listen", anywhere, "--ticket"}

		redeem := func() {
			t.Helper()
			d.connected(guest.start(append(with, ticket)...))
			d.carries()
		}
		redeem()
		if b, err := os.ReadFile(list); err != nil || !strings.HasPrefix(string(b), "# guests\n"+guest.identifier()+" # ticket ") {
			t.Errorf("the allow file is %q, %v", b, err)
		}
		d.inlet.says("--to " + d.route() + " --allow " + d.identifier())
		d.turnsAway(thief, "already spent: redeemed by "+guest.identifier(), append(with, ticket)...)
		d.turnsAway(thief, "already spent: redeemed by "+guest.identifier(), append(with, thief.file("ticket", ticket))...)
		d.admits(guest) // without
		redeem()        // who was let in may show it again

		d.outlet.kill()
		d.beginOutlet()
		if !through {
			ticket = d.must("ticket", "create", "--to", d.route(), "--expires", "10m")
		}
		if through { // the same ticket at another process
			d.turnsAway(thief, "already spent: redeemed by "+guest.identifier(), append(with, ticket)...)
		}
		host.file("allow", "# nobody any more\n")
		d.outlet.says("the lists have changed")
		if through {
			d.turnsAway(guest, "already spent: redeemed by "+guest.identifier(), append(with, ticket)...)
		}
		host.contains(list, "# nobody any more\n")
	})
}

// TestTicketElsewhere is one that is shown to another outlet of the same identity.
func TestTicketElsewhere(t *testing.T) {
	t.Parallel()
	host := newPerson(t)
	owner := newPerson(t)
	relay := owner.start("relay", "--listen", anywhere, "--allow", host.identifier()).ready()
	outlet := func(name string) *topology {
		return newTopology(t, plan{
			who: host, relay: true, relayAt: relay, relayOwner: owner, name: name,
			outlet: []string{"--allow-file", host.file("allow-"+name, "")},
		})
	}
	db, web := outlet("db"), outlet("web")
	thief := newIntruder(t, web)
	key := loadKey(t, host.home+"/.config/sp/identity")
	for to, reason := range map[string]string{
		db.route(): "it is for the outlet that goes by the name db",
		"/ip4/127.0.0.1/tcp/1/secure/api/service/outlet": "it is for an outlet that is reached without a relay",
	} {
		ticket, err := key.Ticket(nil, to, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		thief.isRefused(web, nil, ticket.Bytes(), reason)
	}
	ticket, err := key.Ticket(nil, web.route(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := thief.tries(web, nil, ticket.Bytes()); err != nil {
		t.Error(err)
	}
}

// TestTicketTwoAtOnce lets one of many in who come at the same time, to two outlets that share their files.
func TestTicketTwoAtOnce(t *testing.T) {
	t.Parallel()
	host := newPerson(t)
	list := host.file("allow", "")
	d := newDoor(t, false, "--allow-file", list)
	second := newTopology(t, plan{who: d.person, target: d.targetAt, outlet: d.plan.outlet})
	ticket, err := identity.ParseTicketText(d.must("ticket", "create", "--to", d.route()))
	if err != nil {
		t.Fatal(err)
	}
	const many = 8
	results := make(chan error, many)
	for n := range many {
		i := newIntruder(t, d)
		at := []*topology{d, second}[n%2]
		go func() { results <- i.tries(at, nil, ticket.Bytes()) }()
	}
	in := 0
	for range many {
		if err := <-results; err == nil {
			in++
		} else if !errors.Is(err, channel.ErrRefusedByPeer) {
			t.Error(err)
		}
	}
	if b, err := os.ReadFile(list); in != 1 || err != nil || strings.Count(string(b), "\n") != 1 {
		t.Errorf("%d got in; the allow file is %q, %v", in, b, err)
	}
}

// TestRelayNames has the relay decide, by each anchor, who may claim a name.
func TestRelayNames(t *testing.T) {
	t.Parallel()
	owner, host, stranger, authority := newPerson(t), newPerson(t), newPerson(t), newPerson(t)
	target := listen(t)
	start := func(t *testing.T, flags ...string) (relay *process, at string) {
		t.Helper()
		relay = owner.start(append([]string{"relay", "--listen", anywhere}, flags...)...)
		return relay, relay.ready()
	}
	claim := func(who person, at, name string, flags ...string) *process {
		return who.start(append([]string{
			"outlet", "--target", target.Addr().String(), "--relay", at, "--name", name, "--relay-identity", owner.identifier(), "--no-wait",
		}, flags...)...)
	}
	refused := func(t *testing.T, relay, outlet *process, reason string) {
		t.Helper()
		outlet.ends(notTrusted)
		relay.says(reason)
		if text := outlet.stderr.String(); strings.Contains(text, reason) || !strings.Contains(text, "not trusted") {
			t.Errorf("the outlet is to hear that it is not trusted, and not that %q:\n%s", reason, text)
		}
	}
	list := owner.file("allow", host.identifier()+"\n")
	for anchor, flags := range map[string][]string{"allow": {"--allow", host.identifier()}, "allow-file": {"--allow-file", list}} {
		t.Run(anchor, func(t *testing.T) {
			relay, at := start(t, flags...)
			refused(t, relay, claim(stranger, at, "db"), "not among the 1 allowed")
			claim(host, at, "db").ready()
		})
	}
	t.Run("authority", func(t *testing.T) {
		relay, at := start(t, "--authority", authority.identifier(), "--require", "role=outlet")
		token := host.file("token", authority.vouch(host.identifier(), "--attr", "role=outlet", "--attr", "relay-name=db"))
		refused(t, relay, claim(host, at, "db"), "no credential was presented")
		refused(t, relay, claim(host, at, "web", "--credential", token), "may not claim the name web: its credential is for the name")
		claim(host, at, "db", "--credential", token).ready()
		free := host.file("free", authority.vouch(host.identifier(), "--attr", "role=outlet"))
		claim(host, at, "web", "--credential", free).ready()
	})
}

// TestRelayDenies ends what an outlet has on a relay, and what goes through it, when trust ends.
func TestRelayDenies(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"denial", "expiry", "another name"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			owner, host, authority := newPerson(t), newPerson(t), newPerson(t)
			denied := owner.file("deny", "")
			life := "1h"
			if way == "expiry" {
				life = briefly().String()
			}
			text := authority.vouch(host.identifier(), "--attr", "relay-name=db", "--expires", life)
			token := host.file("token", text)
			s := newTopology(t, plan{
				who: host, relay: true, relayOwner: owner, inlets: 1, outlet: []string{"--credential", token},
				relayFlags: []string{"--authority", authority.identifier(), "--deny-file", denied},
			})
			f := s.transfer()
			since := time.Now()
			switch way {
			case "denial":
				owner.file("deny", host.identifier()+"\n")
			case "expiry":
				since = parseToken(t, text).Expires()
			case "another name":
				next := authority.vouch(host.identifier(), "--attr", "relay-name=web")
				since = time.Now()
				host.file("token", next)
			}
			f.isCut(since)
			s.relay.says("outlet gone")
			host.fails(unreachable, "no outlet named db", "ping", "--to", s.route(), "-c", "1")
		})
	}
}

// TestProxyProtocol reads what the service is told.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, through bool) {
		guest, authority := newPerson(t), newPerson(t)
		token := guest.file("token", authority.vouch(guest.identifier(), "--attr", "role=db", "--attr", "zone=eu=1"))
		d := newDoor(t, through, "--authority", authority.identifier(), "--proxy-protocol", "v2")
		d.connected(guest.start(d.inletArgs("--credential", token)...))
		client, target := d.open()
		send(t, client, "hello")
		h := readProxyHeader(t, target)
		receives(t, target, "hello")
		if h.from.String() != client.LocalAddr().String() || h.to.String() != d.address {
			t.Errorf("the client is %s at %s, and the service is told %s at %s", client.LocalAddr(), d.address, h.from, h.to)
		}
		want := fmt.Sprint([]string{"e0 " + guest.identifier(), "e1 authority", "e2 role=db", "e2 zone=eu=1"})
		if got := fmt.Sprint(h.values); got != want {
			t.Errorf("the service is told %s, want %s", got, want)
		}
		send(t, target, "welcome")
		receives(t, client, "welcome")

		// Without a TCP client there is nothing to say about it, and the Identifier is said all the same.
		pipe := guest.command(d.inletArgsAt("-", "--credential", token)...)
		pipe.Stdin = strings.NewReader("from a pipe")
		start(t, pipe)
		target = d.accept()
		h = readProxyHeader(t, target)
		if h.from.IsValid() || h.values[0] != "e0 "+guest.identifier() {
			t.Errorf("%+v", h)
		}
		receives(t, target, "from a pipe")
	})
}

// proxyHeader is a header of the PROXY protocol, version 2.
type proxyHeader struct {
	from, to netip.AddrPort
	values   []string // type and text
}

func readProxyHeader(t testing.TB, c io.Reader) (h proxyHeader) {
	t.Helper()
	fixed := make([]byte, 16)
	if _, err := io.ReadFull(c, fixed); err != nil || string(fixed[:12]) != "\r\n\r\n\x00\r\nQUIT\n" {
		t.Fatalf("%q is no header: %v", fixed, err)
	}
	rest := make([]byte, binary.BigEndian.Uint16(fixed[14:]))
	if _, err := io.ReadFull(c, rest); err != nil {
		t.Fatal(err)
	}
	switch [2]byte(fixed[12:14]) {
	case [2]byte{0x20, 0x00}: // LOCAL
	case [2]byte{0x21, 0x11}: // PROXY, TCP over IPv4
		from, _ := netip.AddrFromSlice(rest[:4])
		to, _ := netip.AddrFromSlice(rest[4:8])
		h.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(rest[8:]))
		h.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(rest[10:]))
		rest = rest[12:]
	default:
		t.Fatalf("command and family %#x", fixed[12:14])
	}
	for len(rest) > 0 {
		n := 3 + int(binary.BigEndian.Uint16(rest[1:]))
		h.values = append(h.values, fmt.Sprintf("%x %s", rest[0], rest[3:n]))
		rest = rest[n:]
	}
	return h
}

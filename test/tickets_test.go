//go:build unix

package test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/route"
)

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

// flips calls try with b after a flip of one bit in each byte, unless that does not even decode:
// such a one cannot be sent by this implementation, and identity's tests send it.
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

	i.isRefused(d, parseToken(t, authority.vouch(friend.identifier())).Bytes(), nil,
		"credential 1: about "+friend.identifier())
	good := parseToken(t, authority.vouch(id)).Bytes()
	credential := func(b []byte) error { _, err := identity.ParseCredential(b); return err }
	flips(good, credential, func(b []byte) {
		i.isRefused(d, b, nil, "not trusted: not among the 0 allowed; credential 1: ")
	})

	text := d.must("ticket", "create", "--to", d.route(), "--expires", "1h")
	ticket, err := identity.ParseTicketText(text)
	if err != nil {
		t.Fatal(err)
	}
	aTicket := func(b []byte) error { _, err := identity.ParseTicket(b); return err }
	flips(ticket.Bytes(), aTicket, func(b []byte) {
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
		if b, err := os.ReadFile(list); err != nil ||
			!strings.HasPrefix(string(b), "# guests\n"+guest.identifier()+" # ticket ") {
			t.Errorf("the allow file is %q, %v", b, err)
		}
		d.inlet.says("--to " + d.route() + " --allow " + d.identifier())
		d.turnsAway(thief, "already spent: redeemed by "+guest.identifier(), append(with, ticket)...)
		d.turnsAway(thief, "already spent: redeemed by "+guest.identifier(),
			append(with, thief.file("ticket", ticket))...)
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
		db.route():                        "it is for the outlet that goes by the name db",
		"/ip4/127.0.0.1/tcp/1" + toOutlet: "it is for an outlet that is asked for without a name",
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

// TestTicketTwoAtOnce lets one of many in who come at the same time, to two outlets that share
// their files.
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

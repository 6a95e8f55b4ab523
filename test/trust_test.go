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
	"net"
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
	"github.com/secureportal/sp/route"
)

// cutLimit is how long a transfer may go on after trust has ended: a second, and as long as a machine takes to get round
// to it on which other tests run.
var cutLimit = ofFull(5*time.Second, time.Second)

// door is a site whose outlet belongs to a host, and its guests are others:
//
//	guest ─▶ sp inlet ─▶ (sp relay ─▶) sp outlet ─▶ target
type door struct {
	*site
	relayOwner person
	relay      *process
	relayAt    string
	flags      []string
}

// newDoor starts an outlet, behind a relay of somebody else if it is to be reached through one.
func newDoor(t testing.TB, through bool, flags ...string) *door {
	t.Helper()
	d := &door{site: &site{person: newPerson(t), target: listen(t)}, flags: flags}
	where := []string{"--listen", "127.0.0.1:0"}
	if through {
		d.relayOwner = newPerson(t)
		d.relay = d.relayOwner.start("relay", "--listen", "127.0.0.1:0", "--allow", d.identifier())
		d.relayAt = ready(t, d.relay)
		where = []string{"--relay", d.relayAt, "--name", "db", "--relay-identity", d.relayOwner.identifier()}
	}
	d.flags = append(where, flags...)
	d.startOutlet()
	return d
}

func (d *door) startOutlet() {
	d.t.Helper()
	d.outlet = d.start(append([]string{"outlet", "--target", d.target.Addr().String()}, d.flags...)...)
	d.printed = ready(d.t, d.outlet)
}

// inletArgs are a guest's who wants to get in.
func (d *door) inletArgs(flags ...string) []string { return d.inletAt("127.0.0.1:0", flags...) }

func (d *door) inletAt(where string, flags ...string) []string {
	return append([]string{"inlet", "--listen", where, "--to", d.route(), "--allow", d.identifier()}, flags...)
}

// admits lets a guest in, and a connection through.
func (d *door) admits(guest person, flags ...string) {
	d.t.Helper()
	d.inlet = guest.start(d.inletArgs(flags...)...)
	d.address = ready(d.t, d.inlet)
	client, target := d.open()
	send(d.t, client, "hello")
	receives(d.t, target, "hello")
	_ = client.Close()
	_ = target.Close()
}

// refuses expects that a guest is turned away: that it hears nothing but that, and the outlet logs the reason.
func (d *door) refuses(guest person, reason string, flags ...string) {
	d.t.Helper()
	d.turnsAway(guest, reason, d.inletArgs(append(flags, "--no-wait", "--log-level", "debug")...)...)
}

func (d *door) turnsAway(guest person, reason string, args ...string) {
	d.t.Helper()
	before := strings.Count(d.outlet.stderr.String(), reason)
	code, stdout, stderr := guest.run(args...)
	if code != 4 || stdout != "" {
		d.t.Fatalf("%v: exit code %d, stdout %q\n%s", args, code, stdout, stderr)
	}
	if !strings.Contains(stderr, "not trusted by the far end") || strings.Contains(stderr, reason) {
		d.t.Errorf("the guest is to hear that it is not trusted, and not that %q:\n%s", reason, stderr)
	}
	err := d.outlet.await(&d.outlet.stderr, func(s string) bool { return strings.Count(s, reason) > before })
	if err != nil {
		d.t.Errorf("the outlet has not logged %q: %v", reason, err)
	}
	d.untouched()
}

// transfer is bytes on their way to a client until somebody cuts them off.
type transfer struct {
	t    testing.TB
	ends chan cut
}

// cut is when and why one end of a transfer ended.
type cut struct {
	who string
	at  time.Time
	err error
}

// transfer opens a connection on which the target sends without end, and waits until some of it has arrived.
func (s *site) transfer() *transfer {
	s.t.Helper()
	client, target := s.open()
	f := &transfer{s.t, make(chan cut, 2)}
	go f.send(target)
	first := make([]byte, 1<<10)
	if _, err := io.ReadFull(client, first); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_, err := io.Copy(io.Discard, client)
		f.ends <- cut{"client", time.Now(), err}
	}()
	return f
}

func (f *transfer) send(target net.Conn) {
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for range pace.C {
		if _, err := target.Write(make([]byte, 8<<10)); err != nil {
			f.ends <- cut{"target", time.Now(), err}
			return
		}
	}
}

// isCut expects both ends to be cut off between since and cutLimit later.
func (f *transfer) isCut(since time.Time) {
	f.t.Helper()
	for range 2 {
		select {
		case c := <-f.ends:
			if took := c.at.Sub(since); took < 0 || took > cutLimit {
				f.t.Errorf("the %s was cut off %v after trust ended", c.who, took)
			}
			if c.err == nil {
				f.t.Errorf("the %s takes it for an end", c.who)
			}
		case <-time.After(soon):
			f.t.Fatal("the transfer goes on")
		}
	}
}

// goesOn expects that nothing is cut off until then.
func (f *transfer) goesOn(until time.Time) {
	f.t.Helper()
	select {
	case c := <-f.ends:
		f.t.Fatalf("the %s was cut off: %v", c.who, c.err)
	case <-time.After(time.Until(until)):
	}
}

// file writes a file in somebody's home, as an editor does: whole or not at all.
func (u person) file(name, content string) string {
	u.t.Helper()
	path := filepath.Join(u.home, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		u.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		u.t.Fatal(err)
	}
	return path
}

// must runs sp, which must succeed, and returns what it printed.
func (u person) must(args ...string) string {
	u.t.Helper()
	code, stdout, stderr := u.run(args...)
	if code != 0 {
		u.t.Fatalf("%v: exit code %d\n%s", args, code, stderr)
	}
	return strings.TrimSpace(stdout)
}

// vouch has u issue a credential for somebody, and returns its text.
func (u person) vouch(about string, flags ...string) string {
	u.t.Helper()
	u.identifier() // is made
	return u.must(append([]string{"credential", "issue", "--for", about}, flags...)...)
}

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
	logs(t, d.outlet, "the lists have changed")
	d.refuses(guest, "denied by "+denied+":1", "--credential", good)

	code, _, stderr := impostor.run(d.inletArgs("--credential", good)...)
	if code != 1 || !strings.Contains(stderr, "it is about "+id) {
		t.Errorf("a credential of somebody else's is shown: exit code %d\n%s", code, stderr)
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
			token := authority.vouch(guest.identifier(), "--expires", "8s")
			d.admits(guest, "--credential", guest.file("token", token))
			d.transfer().isCut(parseToken(t, token).Expires())
			d.refuses(guest, "expired at", "--credential", filepath.Join(guest.home, "token"))
		})
	})
	t.Run("expiry of the outlet's", func(t *testing.T) {
		t.Parallel()
		guest, authority := newPerson(t), newPerson(t)
		host := newPerson(t)
		token := authority.vouch(host.identifier(), "--expires", "8s")
		d := &door{site: &site{person: host, target: listen(t)}}
		d.flags = []string{"--listen", "127.0.0.1:0", "--allow", guest.identifier(), "--credential", host.file("token", token)}
		d.startOutlet()
		d.inlet = guest.start("inlet", "--listen", "127.0.0.1:0", "--to", d.route(), "--authority", authority.identifier())
		d.address = ready(t, d.inlet)
		d.transfer().isCut(parseToken(t, token).Expires())
		logs(t, d.inlet, "expired at")
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
			logs(t, d.outlet, "the lists have changed")
			_ = stuck.SetReadDeadline(time.Now().Add(cutLimit))
			awaitReset(t, stuck)
		})
	}
}

// fill writes until nothing is taken any more.
func fill(t *testing.T, c *net.TCPConn) {
	t.Helper()
	for {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second / 2))
		if _, err := c.Write(make([]byte, 1<<20)); errors.Is(err, os.ErrDeadlineExceeded) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// awaitReset waits for a reset without reading.
func awaitReset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var reason int
	err = raw.Read(func(fd uintptr) bool {
		reason, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		return reason != 0
	})
	if err != nil || syscall.Errno(reason) != syscall.ECONNRESET {
		t.Errorf("the connection is not reset: %v, %v", syscall.Errno(reason), err)
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
			hostFlags := []string{"--listen", "127.0.0.1:0", "--authority", authority.identifier()}
			guestFlags := []string{"--allow", host.identifier()}
			if side == "outlet" {
				shower = host
				hostFlags = []string{"--listen", "127.0.0.1:0", "--allow", guest.identifier()}
				guestFlags = []string{"--authority", authority.identifier()}
			}
			token := authority.vouch(shower.identifier(), "--expires", "8s")
			show := []string{"--credential", shower.file("token", token)}
			if side == "outlet" {
				hostFlags = append(hostFlags, show...)
			} else {
				guestFlags = append(guestFlags, show...)
			}
			d := &door{site: &site{person: host, target: listen(t)}, flags: hostFlags}
			d.startOutlet()
			d.inlet = guest.start(append([]string{"inlet", "--listen", "127.0.0.1:0", "--to", d.route()}, guestFlags...)...)
			d.address = ready(t, d.inlet)
			f := d.transfer()
			second := authority.vouch(shower.identifier(), "--expires", "14s")
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
	logs(t, d.outlet, "allow:2: identifier has 8 characters, want 65: the list read before stays in force")
	if err := d.outlet.signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	logs(t, d.outlet, "reading all files again")
	d.admits(guest)
	if err := os.Remove(list); err != nil {
		t.Fatal(err)
	}
	logs(t, d.outlet, "no such file or directory: the list read before stays in force")
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
	if err := d.outlet.signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
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
		d.startOutlet() // what was seen is on the disk
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
	d := &door{site: &site{person: me, target: listen(t)}, flags: []string{"--listen", "127.0.0.1:0"}}
	d.startOutlet()
	d.refuses(thief, "its history is older than one seen before", "--identity", stolen)
	d.admits(me)
	copyFile(t, stolen, key) // a copy that was forgotten somewhere
	logs(t, me.start(d.inletArgs()...), "take the identity file from where it was rotated")
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
	logs(t, d.outlet, "the identity has a new key")
	for seen := ""; !strings.Contains(seen, d.identifier()); { // the running inlet learns of it
		f.goesOn(time.Now().Add(10 * time.Millisecond))
		b, _ := os.ReadFile(guest.home + "/.local/state/sp/seen")
		seen = string(b)
	}
	d.admits(guest)
	f.goesOn(time.Now())
	d.outlet.kill()
	d.flags = append(d.flags, "--identity", old)
	d.startOutlet()
	code, _, stderr := guest.run(d.inletArgs("--no-wait")...)
	if code != 4 || !strings.Contains(stderr, "its history is older than one seen before") {
		t.Errorf("the outlet with the old key: exit code %d\n%s", code, stderr)
	}
}

// intruder is a client that shows what sp itself would not.
type intruder struct {
	t    testing.TB
	id   *identity.Identity
	host identity.Identifier
}

func newIntruder(t testing.TB, d *door) *intruder {
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
func (i *intruder) tries(d *door, credential, ticket []byte) error {
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
	ctx, cancel := context.WithTimeout(i.t.Context(), soon)
	defer cancel()
	_, err = node.Session(ctx, to)
	return err
}

func (i *intruder) isRefused(d *door, credential, ticket []byte, reason string) {
	i.t.Helper()
	before := strings.Count(d.outlet.stderr.String(), reason)
	if err := i.tries(d, credential, ticket); !errors.Is(err, channel.ErrRefusedByPeer) {
		i.t.Fatalf("want a refusal because %q, got: %v", reason, err)
	}
	err := d.outlet.await(&d.outlet.stderr, func(s string) bool { return strings.Count(s, reason) > before })
	if err != nil {
		i.t.Fatalf("the outlet has not logged %q: %v", reason, err)
	}
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
	d := &door{site: &site{person: host, target: listen(t)}}
	d.flags = []string{"--listen", "127.0.0.1:0", "--handshake-rate", "100000", "--log-level", "debug", // which has every refusal
		"--allow-file", list, "--authority", authority.identifier()}
	d.startOutlet()
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
	code, _, stderr := friend.run("inlet", "--listen", "-", "--ticket", expired.String())
	if code != 4 || !strings.Contains(stderr, "the ticket expired at") {
		t.Errorf("an expired ticket is shown: exit code %d\n%s", code, stderr)
	}
	foreign, err := i.id.Ticket(nil, ticket.Route(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	i.isRefused(d, nil, foreign.Bytes(), "issued by "+id+", not by this node")

	if b, err := os.ReadFile(list); err != nil || string(b) != "# guests\n" {
		t.Errorf("the allow file is %q, %v", b, err)
	}
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
	newIntruder(t, d).isRefused(d, nil, ticket.Bytes(), "already redeemed by "+id)
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
		with := []string{"inlet", "--listen", "127.0.0.1:0", "--ticket"}

		redeem := func() {
			t.Helper()
			d.inlet = guest.start(append(with, ticket)...)
			d.address = ready(t, d.inlet)
			client, target := d.open()
			send(t, client, "hello")
			receives(t, target, "hello")
		}
		redeem()
		if b, err := os.ReadFile(list); err != nil || !strings.HasPrefix(string(b), "# guests\n"+guest.identifier()+" # ticket ") {
			t.Errorf("the allow file is %q, %v", b, err)
		}
		logs(t, d.inlet, "--to "+d.route()+" --allow "+d.identifier())
		d.turnsAway(thief, "already redeemed by "+guest.identifier(), append(with, ticket)...)
		d.turnsAway(thief, "already redeemed by "+guest.identifier(), append(with, thief.file("ticket", ticket))...)
		d.admits(guest) // without
		redeem()        // who was let in may show it again

		d.outlet.kill()
		d.startOutlet()
		if !through {
			ticket = d.must("ticket", "create", "--to", d.route(), "--expires", "10m")
		}
		if through { // the same ticket at another process
			d.turnsAway(thief, "already redeemed by "+guest.identifier(), append(with, ticket)...)
		}
		host.file("allow", "# nobody any more\n")
		logs(t, d.outlet, "the lists have changed")
		if through {
			d.turnsAway(guest, "already redeemed by "+guest.identifier(), append(with, ticket)...)
		}
		if b, err := os.ReadFile(list); err != nil || string(b) != "# nobody any more\n" {
			t.Errorf("the allow file is %q, %v", b, err)
		}
	})
}

// TestTicketElsewhere is one that is shown to another outlet of the same identity.
func TestTicketElsewhere(t *testing.T) {
	t.Parallel()
	host := newPerson(t)
	owner := newPerson(t)
	relay := ready(t, owner.start("relay", "--listen", "127.0.0.1:0", "--allow", host.identifier()))
	outlet := func(name string) *door {
		d := &door{site: &site{person: host, target: listen(t)}}
		d.flags = []string{"--relay", relay, "--name", name, "--relay-identity", owner.identifier(), "--allow-file", host.file("allow-"+name, "")}
		d.startOutlet()
		return d
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
	second := &door{site: &site{person: d.person, target: d.target}, flags: d.flags}
	second.startOutlet()
	ticket, err := identity.ParseTicketText(d.must("ticket", "create", "--to", d.route()))
	if err != nil {
		t.Fatal(err)
	}
	const many = 8
	results := make(chan error, many)
	for n := range many {
		i := newIntruder(t, d)
		at := []*door{d, second}[n%2]
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
		relay = owner.start(append([]string{"relay", "--listen", "127.0.0.1:0"}, flags...)...)
		return relay, ready(t, relay)
	}
	claim := func(who person, at, name string, flags ...string) *process {
		return who.start(append([]string{
			"outlet", "--target", target.Addr().String(), "--relay", at, "--name", name, "--relay-identity", owner.identifier(), "--no-wait",
		}, flags...)...)
	}
	refused := func(t *testing.T, relay, outlet *process, reason string) {
		t.Helper()
		ends(t, outlet, 4)
		logs(t, relay, reason)
		if text := outlet.stderr.String(); strings.Contains(text, reason) || !strings.Contains(text, "not trusted") {
			t.Errorf("the outlet is to hear that it is not trusted, and not that %q:\n%s", reason, text)
		}
	}
	list := owner.file("allow", host.identifier()+"\n")
	for anchor, flags := range map[string][]string{"allow": {"--allow", host.identifier()}, "allow-file": {"--allow-file", list}} {
		t.Run(anchor, func(t *testing.T) {
			relay, at := start(t, flags...)
			refused(t, relay, claim(stranger, at, "db"), "not among the 1 allowed")
			ready(t, claim(host, at, "db"))
		})
	}
	t.Run("authority", func(t *testing.T) {
		relay, at := start(t, "--authority", authority.identifier(), "--require", "role=outlet")
		token := host.file("token", authority.vouch(host.identifier(), "--attr", "role=outlet", "--attr", "relay-name=db"))
		refused(t, relay, claim(host, at, "db"), "no credential was presented")
		refused(t, relay, claim(host, at, "web", "--credential", token), "may not claim the name web: its credential is for the name")
		ready(t, claim(host, at, "db", "--credential", token))
		free := host.file("free", authority.vouch(host.identifier(), "--attr", "role=outlet"))
		ready(t, claim(host, at, "web", "--credential", free))
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
			relay := owner.start("relay", "--listen", "127.0.0.1:0", "--authority", authority.identifier(), "--deny-file", denied)
			at := ready(t, relay)
			life := "1h"
			if way == "expiry" {
				life = "8s"
			}
			text := authority.vouch(host.identifier(), "--attr", "relay-name=db", "--expires", life)
			token := host.file("token", text)
			s := &site{person: host, target: listen(t)}
			s.outlet = s.start("outlet", "--target", s.target.Addr().String(), "--relay", at, "--name", "db", "--relay-identity", owner.identifier(), "--credential", token)
			s.printed = ready(t, s.outlet)
			s.connect(s.route())
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
			logs(t, relay, "outlet gone")
			code, _, stderr := host.run("ping", "--to", s.route(), "-c", "1")
			if code != 3 || !strings.Contains(stderr, "no outlet named db") {
				t.Errorf("the name is still there: exit code %d\n%s", code, stderr)
			}
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
		d.inlet = guest.start(d.inletArgs("--credential", token)...)
		d.address = ready(t, d.inlet)
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
		pipe := guest.command(d.inletAt("-", "--credential", token)...)
		pipe.Stdin = strings.NewReader("from a pipe")
		background(t, pipe)
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

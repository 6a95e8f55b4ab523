//go:build unix

package test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/internal/testenv"
)

// briefly is how long a credential is valid that is to expire while a test looks on: not before
// everything is up.
func briefly() time.Duration {
	const quiet, up = 5 * time.Second, 2 * time.Second
	return max(quiet, unhurried(up).Round(time.Second))
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
			token := guest.file("token", authority.vouch(guest.identifier(), "--attr", "role=db",
				"--attr", "team=web"))
			d := newDoor(t, through, "--authority", authority.identifier(), "--require", "role=db",
				"--require", "team=web")
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
	d := newDoor(t, false, "--authority", authority.identifier(), "--require", "role=db",
		"--deny-file", denied)
	for reason, token := range map[string]string{
		"issued by " + impostor.identifier(): impostor.vouch(id, "--attr", "role=db"),
		"expired at": authority.vouch(id, "--attr", "role=db",
			"--not-before", "-2h", "--expires", "1h"),
		"not yet valid": authority.vouch(id, "--attr", "role=db",
			"--not-before", "1h"),
		`attribute role is \"web\"`: authority.vouch(id, "--attr", "role=web"),
		"it has no attribute role":  authority.vouch(id, "--attr", "roles=db"),
	} {
		d.refuses(guest, reason, "--credential", guest.file("token", token))
	}
	good := guest.file("token", authority.vouch(id, "--attr", "role=db"))
	d.admits(guest, "--credential", good)
	authority.file("deny", id+"\n")
	d.outlet.says("the lists have changed")
	d.refuses(guest, "denied by "+denied+":1", "--credential", good)

	r := impostor.run(d.inletArgs("--credential", good)...)
	if r.code != notTrusted || !strings.Contains(r.stderr, "it is about "+id) {
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
		token := authority.vouch(host.identifier(), "--attr", "relay-name=db",
			"--expires", briefly().String())
		d := newTopology(t, plan{who: host, outlet: []string{
			"--name", "db", "--allow", guest.identifier(), "--credential", host.file("token", token),
		}})
		d.connected(guest.start("inlet", "--listen", anywhere, "--to", d.route(),
			"--authority", authority.identifier()))
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
				t.Errorf("who neither reads nor writes was cut off %v after trust ended",
					time.Since(since))
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
			shower, says := guest, "role=inlet"
			hostFlags := []string{"--authority", authority.identifier()}
			guestFlags := []string{"--allow", host.identifier()}
			if side == "outlet" {
				shower, says = host, "relay-name=db"
				hostFlags = []string{"--name", "db", "--allow", guest.identifier()}
				guestFlags = []string{"--authority", authority.identifier()}
			}
			life := briefly()
			token := authority.vouch(shower.identifier(), "--attr", says, "--expires", life.String())
			show := []string{"--credential", shower.file("token", token)}
			if side == "outlet" {
				hostFlags = append(hostFlags, show...)
			} else {
				guestFlags = append(guestFlags, show...)
			}
			d := newTopology(t, plan{who: host, outlet: hostFlags})
			d.connected(guest.start(append([]string{
				"inlet", "--listen", anywhere,
				"--to", d.route(),
			}, guestFlags...)...))
			f := d.transfer()
			second := authority.vouch(shower.identifier(), "--attr", says,
				"--expires", (life * 7 / 4).String())
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
	d.outlet.says("allow:2: identifier has 8 characters, want 65: " +
		"the list read before stays in force")
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
	since := time.Now() // it may be read before the signal comes
	b, err := os.OpenFile(list, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.WriteString(other.identifier())
	if err = errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	age()
	d.outlet.signal(syscall.SIGHUP)
	f.isCut(since)
}

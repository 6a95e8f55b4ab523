//go:build unix

package test

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestRelayNames has the relay decide, by each anchor, who may claim a name.
func TestRelayNames(t *testing.T) {
	t.Parallel()
	owner, host, stranger, authority := newPerson(t), newPerson(t), newPerson(t), newPerson(t)
	target := listen(t)
	start := func(t *testing.T, flags ...string) (relay *process, at string) {
		t.Helper()
		return owner.startRelay(flags...)
	}
	claim := func(who person, at, name string, flags ...string) *process {
		return who.start(append([]string{
			"outlet", "--target", target.Addr().String(), "--relay", at, "--name", name,
			"--no-wait",
		}, flags...)...)
	}
	refused := func(t *testing.T, relay, outlet *process, reason string) {
		t.Helper()
		outlet.ends(notTrusted)
		outlet.says("hint: start the relay, and a bridge on the way to it, with --allow I")
		relay.says(reason)
		if text := outlet.stderr.String(); strings.Contains(text, reason) ||
			!strings.Contains(text, "not trusted") {
			t.Errorf("the outlet is to hear that it is not trusted, and not that %q:\n%s", reason,
				text)
		}
	}
	list := owner.file("allow", host.identifier()+"\n")
	for anchor, flags := range map[string][]string{
		"allow":      {"--allow", host.identifier()},
		"allow-file": {"--allow-file", list},
	} {
		t.Run(anchor, func(t *testing.T) {
			relay, at := start(t, flags...)
			refused(t, relay, claim(stranger, at, "db"), "not among the 1 allowed")
			claim(host, at, "db").ready()
		})
	}
	t.Run("authority", func(t *testing.T) {
		relay, at := start(t, "--authority", authority.identifier(), "--require", "role=outlet")
		token := host.file("token", authority.vouch(host.identifier(), "--attr", "role=outlet",
			"--attr", "relay-name=db"))
		refused(t, relay, claim(host, at, "db"), "no credential was presented")
		refused(t, relay, claim(host, at, "web", "--credential", token),
			"its bearer may not go by the name web")
		claim(host, at, "db", "--credential", token).ready()
		nameless := host.file("nameless",
			authority.vouch(host.identifier(), "--attr", "role=outlet"))
		refused(t, relay, claim(host, at, "web", "--credential", nameless),
			"its bearer goes by no name")
		both := host.file("both", authority.vouch(host.identifier(), "--attr", "role=outlet",
			"--attr", "relay-name=web,db"))
		claim(host, at, "web", "--credential", both).ready()
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
				who: host, relay: true, relayOwner: owner, inlets: 1,
				outlet:     []string{"--credential", token},
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

// TestRelayKey has a relay make a key of its own at its first start, and have the same one at its
// next. It needs nobody else's, and it is nobody else: where others are named, not even its owner
// may claim a name.
func TestRelayKey(t *testing.T) {
	t.Parallel()
	owner, host, client := newPerson(t), newPerson(t), newPerson(t)
	hostID := host.identifier()
	file := owner.relayKeyFile()
	relay, at := owner.startRelay("--allow", hostID)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	if _, err := os.Stat(owner.keyFile()); err == nil {
		t.Error("the relay has made its owner's key, too")
	}
	claim := func(more ...string) []string {
		return claims(at, named(t, "db"), append(more, "--allow", client.identifier())...)
	}
	registered := "name=db identifier=" + owner.relayIdentifier()
	outlet := host.start(claim()...)
	outlet.says(registered)
	reaches(t, client.inletTo("db@"+at, "--allow", hostID), "db")

	for _, other := range []person{owner, client} {
		p := other.start(claim()...)
		p.ends(notTrusted)
		p.says("with --allow " + other.identifier() + ";")
		relay.says("who claims to be " + other.identifier() + " is not trusted")
	}
	owner.startRelay("--allow-file", owner.file("none", ""))
	host.start(claim("--replace", "--relay-identity", owner.relayIdentifier())...).
		says(registered)
	host.fails(notTrusted, "not among the 1 allowed",
		claim("--replace", "--relay-identity", owner.identifier())...)
}

// TestRelayWithAnothersKey is one key for a relay and its outlets: it is asked for by --identity,
// and trusts itself as every role does.
func TestRelayWithAnothersKey(t *testing.T) {
	t.Parallel()
	me, stranger := newPerson(t), newPerson(t)
	relay, at := me.startRelay(me.ownKey()...)
	me.startNamed(at, "db", named(t, "db")).says("name=db identifier=" + me.identifier())
	reaches(t, me.inletTo("db@"+at), "db")
	stranger.fails(notTrusted, "not trusted by the far end", "outlet", "--no-wait", "--relay", at,
		"--name", "web", "--target", "127.0.0.1:1")
	relay.says("not our own identity, and no other is allowed")
	if _, err := os.Stat(me.relayKeyFile()); err == nil {
		t.Error("the relay has made a key that it does not use")
	}
}

// TestRelayImposter has somebody be the relay who has lured an outlet and an inlet to himself. He
// learns who the outlet is, and gets nothing of what passes: with another outlet in its place the
// inlet finds nobody.
func TestRelayImposter(t *testing.T) {
	t.Parallel()
	me, mallory := newPerson(t), newPerson(t)
	m := newMirror(t, meanwhile)
	relay, at := mallory.startRelay("--allow", me.identifier(), "--allow", mallory.identifier())
	outlet := me.startNamed(at, "db", m.address)
	relay.says("outlet registered\" name=db identifier=" + me.identifier())
	undisturbed(t, me.inletTo("db@"+at), m)()
	outlet.kill()
	mallory.startNamed(at, "db", m.address, "--allow-anyone")
	me.fails(notTrusted, "not our own identity", "inlet", "--no-wait", "--listen", anywhere,
		"--to", "db@"+at)
}

//go:build unix

package test

import (
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
		relay = owner.start(append([]string{"relay", "--listen", anywhere}, flags...)...)
		return relay, relay.ready()
	}
	claim := func(who person, at, name string, flags ...string) *process {
		return who.start(append([]string{
			"outlet", "--target", target.Addr().String(), "--relay", at, "--name", name,
			"--relay-identity", owner.identifier(), "--no-wait",
		}, flags...)...)
	}
	refused := func(t *testing.T, relay, outlet *process, reason string) {
		t.Helper()
		outlet.ends(notTrusted)
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

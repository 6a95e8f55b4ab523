package trust

import (
	"testing"

	"github.com/secureportal/sp/identity"
)

func BenchmarkCheck(b *testing.B) {
	id, authority := newIdentity(b, "a"), newIdentity(b, "authority")
	for _, bench := range []struct {
		name string
		cfg  Config
		peer *identity.Peer
	}{
		{"self", Config{Self: id.Identifier()}, peerOf(id)},
		{"allow", Config{Allow: []identity.Identifier{id.Identifier()}}, peerOf(id)},
		{"rotated", Config{Self: id.Identifier()}, peerOf(rotated(b, id, "b"))},
		{
			"authority",
			Config{Authorities: []identity.Identifier{authority.Identifier()}},
			peerOf(id, issued(b, authority, id.Identifier())),
		},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p := newPolicy(b, bench.cfg)
			for b.Loop() {
				if _, err := p.Check(bench.peer, anInlet, t0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCheckForged is what a stranger can make a node do who shows eight credentials
// that look right: one wrong signature each.
func BenchmarkCheckForged(b *testing.B) {
	id, authority := newIdentity(b, "a"), newIdentity(b, "authority")
	peer := peerOf(id)
	for range identity.MaxCredentials {
		raw := issued(b, authority, id.Identifier()).Bytes()
		raw[len(raw)-40] ^= 4 // in the signature
		forged, err := identity.ParseCredential(raw)
		if err != nil {
			b.Fatal(err)
		}
		peer.Credentials = append(peer.Credentials, forged)
	}
	p := newPolicy(b, Config{Authorities: []identity.Identifier{authority.Identifier()}})
	for b.Loop() {
		if _, err := p.Check(peer, anInlet, t0); err == nil {
			b.Fatal("trusted")
		}
	}
}

func BenchmarkPoll(b *testing.B) {
	s := writeTemp(b, "allow", newIdentity(b, "a").Identifier().String()+"\n")
	p := newPolicy(b, Config{AllowFiles: []string{s}})
	for b.Loop() {
		if err := p.Poll(); err != nil {
			b.Fatal(err)
		}
	}
}

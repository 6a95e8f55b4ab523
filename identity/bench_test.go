package identity

import (
	"testing"
)

func BenchmarkProve(b *testing.B) {
	id := newIdentity(b, "a")
	for b.Loop() {
		if _, err := id.Prove(Initiator, testHash, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyProof(b *testing.B) {
	id := newIdentity(b, "a")
	credential := issued(b, newIdentity(b, "authority"), id.Identifier(), "role=db").Bytes()
	long := id
	for _, name := range names("key", MaxChanges-1) {
		long = rotated(b, long, name)
	}
	for _, bench := range []struct {
		name        string
		id          *Identity
		credentials [][]byte
	}{
		{"plain", id, nil},
		{"credential", id, [][]byte{credential}},
		{"32changes", long, nil},
	} {
		b.Run(bench.name, func(b *testing.B) {
			proof, err := bench.id.Prove(Initiator, testHash, bench.credentials)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(proof)), "wire-B")
			for b.Loop() {
				if _, err := VerifyProof(Initiator, testHash, proof); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	id, authority := newIdentity(b, "a"), newIdentity(b, "authority")
	for _, bench := range []struct {
		name string
		cfg  PolicyConfig
		peer *Peer
	}{
		{"self", PolicyConfig{Self: id.Identifier()}, peerOf(id)},
		{"allow", PolicyConfig{Allow: []Identifier{id.Identifier()}}, peerOf(id)},
		{"rotated", PolicyConfig{Self: id.Identifier()}, peerOf(rotated(b, id, "b"))},
		{"authority", PolicyConfig{Authorities: []Identifier{authority.Identifier()}}, peerOf(id, issued(b, authority, id.Identifier()))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p := newPolicy(b, bench.cfg)
			for b.Loop() {
				if _, err := p.Check(bench.peer, t0); err != nil {
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
	forger := &Identity{history: authority.history, key: id.key}
	peer := peerOf(id)
	for range MaxCredentials {
		peer.Credentials = append(peer.Credentials, issued(b, forger, id.Identifier()))
	}
	p := newPolicy(b, PolicyConfig{Authorities: []Identifier{authority.Identifier()}})
	for b.Loop() {
		if _, err := p.Check(peer, t0); err == nil {
			b.Fatal("trusted")
		}
	}
}

func BenchmarkPoll(b *testing.B) {
	s := writeTemp(b, "allow", newIdentity(b, "a").Identifier().String()+"\n")
	p := newPolicy(b, PolicyConfig{AllowFiles: []string{s}})
	for b.Loop() {
		if err := p.Poll(); err != nil {
			b.Fatal(err)
		}
	}
}

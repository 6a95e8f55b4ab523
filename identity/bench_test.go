package identity

import (
	"testing"
)

func BenchmarkProve(b *testing.B) {
	id := newIdentity(b, "a")
	for b.Loop() {
		if _, err := id.Prove(Initiator, testHash, nil, nil); err != nil {
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
			proof, err := bench.id.Prove(Initiator, testHash, bench.credentials, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(proof)), "wire-B")
			for b.Loop() {
				if _, err := verifyProof(Initiator, testHash, proof); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The second implementation's identities, from the document and the standard library only.

package docs_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
)

// person is an identity, by the document.
type person struct {
	key     ed25519.PrivateKey
	history []byte
}

func newPerson(seed []byte, created time.Time) *person {
	p := &person{key: ed25519.NewKeyFromSeed(seed)}
	body := change([32]byte{}, p.key, created)
	p.history = append(append([]byte{1}, body...), signed(p.key, "change", body)...)
	return p
}

// rotate returns p with a second key.
func (p *person) rotate(seed []byte, created time.Time) *person {
	q := &person{key: ed25519.NewKeyFromSeed(seed)}
	body := change(p.identifier(), q.key, created)
	q.history = append(append([]byte{2}, p.history[1:]...), body...)
	q.history = append(q.history, signed(q.key, "change", body)...)
	q.history = append(q.history, signed(p.key, "change", body)...)
	return q
}

func change(previous [32]byte, key ed25519.PrivateKey, created time.Time) []byte {
	body := append([]byte{1, 1}, previous[:]...)
	body = append(body, key.Public().(ed25519.PublicKey)...)
	return binary.BigEndian.AppendUint64(body, uint64(created.Unix()))
}

// signed returns a signature over a context and what follows it.
func signed(key ed25519.PrivateKey, context string, b []byte) []byte {
	return ed25519.Sign(key, append([]byte("sp v1 identity "+context+"\x00"), b...))
}

func (p *person) identifier() identity.Identifier { return sha256.Sum256(p.history[1:75]) }

func (p *person) prove(role byte, h []byte, entries ...[]byte) []byte {
	said := append(append([]byte{1}, p.history...), byte(len(entries)))
	said = append(said, bytes.Join(entries, nil)...)
	return append(said, ed25519.Sign(p.key, proofMessage(role, said, h))...)
}

func entry(kind byte, value []byte) []byte { return append([]byte{kind}, frame(value)...) }

func proofMessage(role byte, said, h []byte) []byte {
	sum := sha256.Sum256(said)
	m := append([]byte("sp v1 identity proof\x00"), role)
	return append(append(m, sum[:]...), h...)
}

// verifyProof reads a proof without credentials and returns the Identifier.
func verifyProof(t *testing.T, role byte, h, proof []byte) identity.Identifier {
	t.Helper()
	said, signature := proof[:len(proof)-64], proof[len(proof)-64:]
	if said[0] != 1 || said[len(said)-1] != 0 {
		t.Fatal("not a proof of version 1 without credentials")
	}
	changes, rest := int(said[1]), said[2:len(said)-1]
	var previous, first [32]byte
	var key ed25519.PublicKey
	for i := range changes {
		body := rest[:74]
		message := append([]byte("sp v1 identity change\x00"), body...)
		if body[0] != 1 || body[1] != 1 || !bytes.Equal(body[2:34], previous[:]) {
			t.Fatal("the change does not follow the one before it")
		}
		if !ed25519.Verify(body[34:66], message, rest[74:138]) {
			t.Fatal("not signed by its own key")
		}
		rest = rest[138:]
		previous = sha256.Sum256(body)
		if i == 0 {
			first = previous
		} else {
			if !ed25519.Verify(key, message, rest[:64]) {
				t.Fatal("not signed by the key before it")
			}
			rest = rest[64:]
		}
		key = body[34:66]
	}
	if len(rest) > 0 || !ed25519.Verify(key, proofMessage(role, said, h), signature) {
		t.Fatal("not signed for this handshake")
	}
	return first
}

// TestIdentityVectors makes the identity package's examples by the document.
func TestIdentityVectors(t *testing.T) {
	text, err := os.ReadFile("../identity/testdata/vectors.json")
	check(t, err)
	var file struct{ Secrets map[string]string }
	check(t, json.Unmarshal(text, &file))
	var want map[string]any
	check(t, json.Unmarshal(text, &want))
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		check(t, err)
		return b
	}
	vector := func(name string) []byte { return unhex(want[name].(string)) }
	is := func(name string, got []byte) {
		if !bytes.Equal(got, vector(name)) {
			t.Errorf("%s is %x, want %s", name, got, want[name])
		}
	}
	created := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	id := newPerson(unhex(file.Secrets["identity, first key"]), created)
	is("history", id.history)
	rotated := id.rotate(unhex(file.Secrets["identity, second key"]), created.Add(time.Hour))
	is("history_rotated", rotated.history)
	authority := newPerson(unhex(file.Secrets["authority"]), created)
	is("authority_history", authority.history)

	subject := id.identifier()
	credential := append([]byte{1}, vector("credential")[1:17]...) // the serial is random
	credential = append(credential, subject[:]...)
	credential = binary.BigEndian.AppendUint64(credential, uint64(created.Unix()))
	credential = binary.BigEndian.AppendUint64(credential, uint64(created.Add(24*time.Hour).Unix()))
	credential = append(credential, "\x02\x04role\x02db\x04zone\x04eu-1"...)
	credential = append(credential, authority.history...)
	credential = append(credential, signed(authority.key, "credential", credential)...)
	is("credential", credential)

	ticket := append([]byte{1}, vector("ticket")[1:25]...) // the serial, and when it expires
	to := "/dnsaddr/relay.example.com/tcp/4000/service/forward_to_db/secure/api/service/outlet"
	ticket = append(ticket, frame([]byte(to))...)
	ticket = append(ticket, authority.history...)
	ticket = append(ticket, signed(authority.key, "ticket", ticket)...)
	is("ticket", ticket)

	hash := vector("handshake_hash")
	is("proof_initiator", id.prove(1, hash))
	is("proof_initiator_with_credential_and_ticket",
		id.prove(1, hash, entry(1, credential), entry(2, ticket)))
	is("proof_responder_rotated_with_credential", rotated.prove(2, hash, entry(1, credential)))
}

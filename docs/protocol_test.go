// Package docs_test holds docs/PROTOCOL.md to its word, in three ways:
//
//   - the worked example is made again, byte for byte, by the packages of this module;
//   - it is made again by an implementation of the document that shares no code with them: type symmetric and what
//     follows it, from the standard library only;
//   - that second implementation talks to the first one over TCP, as an initiator and as an outlet behind a relay.
package docs_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"go.uber.org/goleak"

	"github.com/secureportal/sp/channel"
	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/identity/trust"
	"github.com/secureportal/sp/noise"
	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/route/relay"
	"github.com/secureportal/sp/route/transport"
	"github.com/secureportal/sp/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ---- the document

// examples returns the bytes of the document's fenced blocks that begin with "```example NAME". What follows a # is for
// people.
func examples(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]byte)
	name := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if begun, ok := strings.CutPrefix(line, "```example "); ok {
			name = begun
			continue
		}
		if name == "" {
			continue
		}
		if line == "```" {
			name = ""
			continue
		}
		digits, _, _ := strings.Cut(line, "#")
		b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatalf("example %s: %v", name, err)
		}
		found[name] = append(found[name], b...)
	}
	return found
}

// TestExample makes the worked example twice. What is in the document and is not made is an error.
func TestExample(t *testing.T) {
	document, made := examples(t), make(map[string]bool)
	t.Run("this module", func(t *testing.T) { byThisModule(&example{t, document, made}) })
	t.Run("second implementation", func(t *testing.T) { bySecondImplementation(&example{t, document, made}) })
	for name := range document {
		if !made[name] {
			t.Errorf("example %s is not tested", name)
		}
	}
}

// example compares what was made with the document, and takes note that it was.
type example struct {
	*testing.T
	document map[string][]byte
	made     map[string]bool
}

func (e *example) is(name string, got []byte) {
	e.Helper()
	e.made[name] = true
	if want, ok := e.document[name]; !ok || !bytes.Equal(got, want) {
		e.Errorf("example %s\nthe document has %x\nwhat is made is  %x", name, want, got)
	}
}

// The fixed values of the worked example.
const exampleSuite = "Noise_XX_25519_AESGCM_SHA256"

var (
	exampleCreated    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	exampleLabel      = wire.Address{Kind: wire.Label, Name: "\x11\x12\x13\x14\x15\x16\x17\x18"}
	exampleRelayLabel = wire.Address{Kind: wire.Label, Name: "\x21\x22\x23\x24\x25\x26\x27\x28"}
)

func repeated(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// ---- the example, made by the packages of this module

func byThisModule(e *example) {
	exampleMessages(e)
	initiator, responder := exampleIdentity(e.T, 0x01), exampleIdentity(e.T, 0x02)
	e.is("history", initiator.History().Bytes())
	identifier := initiator.Identifier()
	e.is("identifier", identifier[:])

	hello, flow := exampleHandshake(e, initiator, responder)
	e.is("hello", hello)
	e.is("flow", flow)
}

// exampleMessages is what the wire package is for.
func exampleMessages(e *example) {
	to, err := route.Parse("/ip4/192.0.2.1/tcp/4000/service/forward_to_db/secure/api/service/outlet")
	if err != nil {
		e.Fatal(err)
	}
	client, err := wire.AppendOrigin(nil, wire.Origin{
		From: netip.MustParseAddrPort("127.0.0.1:40000"), To: netip.MustParseAddrPort("127.0.0.1:6000"),
	})
	check(e.T, err)
	for name, m := range map[string]wire.Message{
		"opening":   {Onward: to[1:3], Return: wire.Route{exampleLabel}},
		"forwarded": {Onward: to[2:3], Return: wire.Route{exampleRelayLabel, exampleLabel}},
		"inner":     {Flags: wire.Lazy, Onward: to[3:], Return: wire.Route{exampleLabel}, Payload: client},
	} {
		b, err := wire.AppendMessage(nil, m)
		if err != nil {
			e.Fatal(err)
		}
		e.is(name, b)
		if back, err := wire.ParseMessage(b); err != nil || fmt.Sprint(back) != fmt.Sprint(m) {
			e.Errorf("%s reads as %v, %v", name, back, err)
		}
	}
	e.is("status", wire.AppendStatus(nil, wire.Status{Code: wire.OK, Hop: 2}))
	refused := wire.Status{Code: wire.NoService, Hop: 1, Reason: "no outlet named db"}
	e.is("refused", wire.AppendStatus(nil, refused))
	if back, _, err := wire.ParseStatus(e.document["refused"]); err != nil || back != refused {
		e.Errorf("refused reads as %v, %v", back, err)
	}
}

func exampleIdentity(t *testing.T, seed byte) *identity.Identity {
	t.Helper()
	id, err := identity.New(bytes.NewReader(repeated(seed)), exampleCreated)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// exampleHandshake is what the noise and identity packages are for. It returns the first hello, and the beginning of
// flow 1.
func exampleHandshake(e *example, initiator, responder *identity.Identity) (hello, flow []byte) {
	suite, err := noise.ParseSuite(exampleSuite)
	check(e.T, err)
	a, err := noise.NewHandshakeState(noise.Config{
		Suite: suite, Initiator: true, Prologue: e.document["prologue"], Static: privateKey(repeated(0x03)), Random: bytes.NewReader(repeated(0x05)),
	})
	check(e.T, err)
	b, err := noise.NewHandshakeState(noise.Config{
		Suite: suite, Prologue: e.document["prologue"], Static: privateKey(repeated(0x04)), Random: bytes.NewReader(repeated(0x06)),
	})
	check(e.T, err)
	m1, err := a.WriteMessage(nil, nil)
	check(e.T, err)
	_, _, err = b.ReadMessage(m1)
	check(e.T, err)
	m2, err := b.WriteMessage(nil, proving(responder, identity.Responder, ""))
	check(e.T, err)
	e.is("message 2", frame(m2))
	payload, hash, err := a.ReadMessage(m2)
	check(e.T, err)
	e.is("payload 2", payload)
	e.is("hash 2", hash)
	_, err = identity.VerifyProof(identity.Responder, hash, payload[1:])
	check(e.T, err)
	m3, err := a.WriteMessage(nil, proving(initiator, identity.Initiator, "forward_to_db"))
	check(e.T, err)
	e.is("message 3", frame(m3))
	payload, hash, err = b.ReadMessage(m3)
	check(e.T, err)
	e.is("payload 3", payload)
	e.is("hash 3", hash)
	e.is("handshake hash", b.HandshakeHash())
	secret, err := b.Secret("sp/1 session")
	check(e.T, err)
	id := secret.ID("sp/1 session id")
	e.is("session", id[:])
	_, send := secret.CipherStates("sp/1 flow", 0)
	e.is("ready", sealed(e.T, send, 5, nil))
	send, answer := secret.CipherStates("sp/1 flow", 1)
	flow = append([]byte{2}, id[:]...)
	flow = binary.BigEndian.AppendUint64(flow, 1)
	flow = append(flow, sealed(e.T, send, 0, e.document["inner"])...)
	flow = append(flow, sealed(e.T, send, 0, []byte("hello"))...)
	flow = append(flow, sealed(e.T, send, 1, nil)...)
	e.is("answer", sealed(e.T, answer, 0, wire.AppendStatus(nil, wire.Status{Hop: 1})))
	return append(append([]byte{1, byte(len(exampleSuite))}, exampleSuite...), frame(m1)...), flow
}

func proving(id *identity.Identity, role identity.Role, name string) func([]byte) ([]byte, error) {
	return func(h []byte) ([]byte, error) {
		proof, err := id.Prove(role, h, nil, nil)
		return append(append([]byte{byte(len(name))}, name...), proof...), err
	}
}

func sealed(t *testing.T, c *noise.CipherState, kind byte, data []byte) []byte {
	t.Helper()
	body, err := c.EncryptWithAd(nil, nil, append([]byte{kind}, data...))
	check(t, err)
	return frame(body)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func privateKey(b []byte) *ecdh.PrivateKey {
	key, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		panic(err) // the tests' own
	}
	return key
}

// frame puts a length of two bytes in front of b.
func frame(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

func exampleSpare(e *example) {
	id, key := make([]byte, 16), make([]byte, 32)
	for i := range id {
		id[i] = byte(i)
	}
	for i := range key {
		key[i] = byte(0x40 + i)
	}
	e.is("spare", sparePayload(append(id, key...), 1))
}

// ---- the second implementation: handshake

// symmetric is Noise's symmetric state, for AESGCM and SHA256.
type symmetric struct {
	ck, h, k []byte
	n        uint64
}

func newSymmetric(name string, prologue []byte) *symmetric {
	h := make([]byte, 32)
	if copy(h, name) < len(name) {
		sum := sha256.Sum256([]byte(name))
		h = sum[:]
	}
	s := &symmetric{ck: bytes.Clone(h), h: h}
	s.mixHash(prologue)
	return s
}

func (s *symmetric) mixHash(b []byte) {
	sum := sha256.Sum256(append(bytes.Clone(s.h), b...))
	s.h = sum[:]
}

func (s *symmetric) mixKey(ikm []byte) {
	s.ck, s.k = hkdf(s.ck, ikm)
	s.n = 0
}

func (s *symmetric) mixDH(t *testing.T, private *ecdh.PrivateKey, public []byte) {
	key, err := ecdh.X25519().NewPublicKey(public)
	check(t, err)
	shared, err := private.ECDH(key)
	check(t, err)
	s.mixKey(shared)
}

func (s *symmetric) seal(plaintext []byte) []byte {
	out := plaintext
	if s.k != nil {
		out = gcm(s.k).Seal(nil, nonce(s.n), plaintext, s.h)
		s.n++
	}
	s.mixHash(out)
	return out
}

func (s *symmetric) open(t *testing.T, b []byte) []byte {
	t.Helper()
	plaintext, err := gcm(s.k).Open(nil, nonce(s.n), b, s.h)
	check(t, err)
	s.n++
	s.mixHash(b)
	return plaintext
}

func mac(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

func hkdf(ck, ikm []byte) (out1, out2 []byte) {
	temp := mac(ck, ikm)
	out1 = mac(temp, []byte{1})
	return out1, mac(temp, out1, []byte{2})
}

func gcm(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the keys have 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func nonce(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 4), n) }

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

// initiator is one handshake of the second implementation.
type initiator struct {
	*testing.T
	*symmetric
	self    *person
	s, e    *ecdh.PrivateKey
	kem     *mlkem.DecapsulationKey768 // nil in a suite that is not hybrid
	peer    identity.Identifier
	payload []byte // of message 2
	hash2   []byte // what the responder signs
	hash3   []byte // what the initiator signs
}

func prologue(suite string, previous [16]byte) []byte {
	p := append([]byte("sp/1 secure channel"), byte(len(suite)))
	p = append(p, suite...)
	return append(p, previous[:]...)
}

func (i *initiator) message1() []byte {
	out := i.e.PublicKey().Bytes()
	i.mixHash(out)
	if i.kem != nil {
		out = append(out, i.seal(i.kem.EncapsulationKey().Bytes())...)
	}
	return append(out, i.seal(nil)...)
}

func (i *initiator) message2(m []byte) (re []byte) {
	re, m = m[:32], m[32:]
	i.mixHash(re)
	i.mixDH(i.T, i.e, re)
	if i.kem != nil {
		shared, err := i.kem.Decapsulate(i.open(i.T, m[:1088+16]))
		check(i.T, err)
		i.mixKey(shared)
		m = m[1088+16:]
	}
	rs := i.open(i.T, m[:48])
	i.mixDH(i.T, i.e, rs)
	i.hash2 = i.h
	i.payload = i.open(i.T, m[48:])
	if i.payload[0] != 0 {
		i.Fatal("a responder has no name to give")
	}
	i.peer = verifyProof(i.T, 2, i.hash2, i.payload[1:])
	return re
}

func (i *initiator) message3(re []byte, name string) []byte {
	out := i.seal(i.s.PublicKey().Bytes())
	i.mixDH(i.T, i.s, re)
	i.hash3 = i.h
	payload := append([]byte{byte(len(name))}, name...)
	return append(out, i.seal(append(payload, i.self.prove(1, i.hash3)...))...)
}

// keys are what a handshake gives.
type keys struct {
	secret []byte
	id     [16]byte
}

func (i *initiator) keys() *keys {
	secret, _ := hkdf(i.ck, append([]byte("sp/1 session"), i.h...))
	k := &keys{secret: secret}
	copy(k.id[:], mac(secret, []byte("id"+"sp/1 session id")))
	return k
}

func (k *keys) flow(n uint64) (send, receive *direction) {
	a, b := hkdf(k.secret, binary.BigEndian.AppendUint64([]byte("keys"+"sp/1 flow"), n))
	return &direction{key: a}, &direction{key: b}
}

// ---- the second implementation: records

type direction struct {
	key []byte
	n   uint64
}

func (d *direction) seal(kind byte, data []byte) []byte {
	body := gcm(d.key).Seal(nil, nonce(d.n), append([]byte{kind}, data...), nil)
	d.next()
	return frame(body)
}

func (d *direction) open(t *testing.T, body []byte) (kind byte, data []byte) {
	t.Helper()
	plaintext, err := gcm(d.key).Open(nil, nonce(d.n), body, nil)
	check(t, err)
	d.next()
	return plaintext[0], plaintext[1:]
}

// next counts, and makes a new key every 65536 records.
func (d *direction) next() {
	if d.n++; d.n%65536 == 0 {
		d.key = gcm(d.key).Seal(nil, nonce(1<<64-1), make([]byte, 32), nil)[:32]
	}
}

// ---- the example, made by the second implementation

func bySecondImplementation(e *example) {
	exampleSpare(e)
	self, far := newPerson(repeated(0x01), exampleCreated), newPerson(repeated(0x02), exampleCreated)
	e.is("history", self.history)
	identifier := self.identifier()
	e.is("identifier", identifier[:])
	e.is("prologue", prologue(exampleSuite, [16]byte{}))
	i := &initiator{
		T: e.T, symmetric: newSymmetric(exampleSuite, e.document["prologue"]), self: self,
		s: privateKey(repeated(0x03)), e: privateKey(repeated(0x05)),
	}
	hello := append([]byte{1, byte(len(exampleSuite))}, exampleSuite...)
	e.is("hello", append(hello, frame(i.message1())...))
	re := i.message2(e.document["message 2"][2:])
	if i.peer != far.identifier() {
		e.Error("message 2 is not the responder's")
	}
	e.is("hash 2", i.hash2)
	e.is("payload 2", i.payload)
	e.is("message 3", frame(i.message3(re, "forward_to_db")))
	e.is("hash 3", i.hash3)
	e.is("handshake hash", i.h)
	e.is("chaining key", i.ck)
	k := i.keys()
	e.is("secret", k.secret)
	e.is("session", k.id[:])
	for n, name := range map[uint64]string{0: "keys 0", 1: "keys 1"} {
		send, receive := k.flow(n)
		e.is(name, append(bytes.Clone(send.key), receive.key...))
	}
	send, receive := k.flow(1)
	flow := append([]byte{2}, k.id[:]...)
	flow = append(binary.BigEndian.AppendUint64(flow, 1), send.seal(0, e.document["inner"])...)
	e.is("flow", append(append(flow, send.seal(0, []byte("hello"))...), send.seal(1, nil)...))
	if kind, data := receive.open(e.T, e.document["answer"][2:]); kind != 0 || !bytes.Equal(data, []byte{0, 1, 0}) {
		e.Errorf("the answer is of type %d and says %x", kind, data)
	}
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
	ticket = append(ticket, frame([]byte("/dnsaddr/relay.example.com/tcp/4000/service/forward_to_db/secure/api/service/outlet"))...)
	ticket = append(ticket, authority.history...)
	ticket = append(ticket, signed(authority.key, "ticket", ticket)...)
	is("ticket", ticket)

	hash := vector("handshake_hash")
	is("proof_initiator", id.prove(1, hash))
	is("proof_initiator_with_credential_and_ticket", id.prove(1, hash, entry(1, credential), entry(2, ticket)))
	is("proof_responder_rotated_with_credential", rotated.prove(2, hash, entry(1, credential)))
}

// ---- the second implementation: links, sessions, flows

// second is a node of the second implementation. The suite is the hybrid one.
type second struct {
	*testing.T
	self  *person
	label [8]byte
	to    string // host:port of the node it talks to
}

const hybrid = "Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256"

func newSecond(t *testing.T, to string) *second {
	seed := make([]byte, 32)
	_, _ = rand.Read(seed)
	s := &second{T: t, self: newPerson(seed, time.Now()), to: to}
	_, _ = rand.Read(s.label[:])
	return s
}

// step is one address of a route, by the document.
func step(kind byte, value string) []byte {
	return append([]byte{kind, byte(len(value))}, value...)
}

func (s *second) opening(payload []byte, onward ...[]byte) []byte {
	body := append([]byte{byte(len(onward))}, bytes.Join(onward, nil)...)
	body = append(append(body, 1), step(6, string(s.label[:]))...)
	body = append(body, payload...)
	return append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

// link is one TCP connection.
type link struct {
	*testing.T
	net.Conn
	r *bufio.Reader
}

// dial opens a link and sends first, without waiting for anything.
func (s *second) dial(first []byte) *link {
	s.Helper()
	c, err := net.Dial("tcp", s.to)
	check(s.T, err)
	s.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	l := &link{s.T, c, bufio.NewReader(c)}
	l.send(first)
	return l
}

func (l *link) send(b []byte) {
	l.Helper()
	_, err := l.Write(b)
	check(l.T, err)
}

func (l *link) take(n int) []byte {
	l.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(l.r, b)
	check(l.T, err)
	return b
}

func (l *link) frame() []byte { return l.take(int(binary.BigEndian.Uint16(l.take(2)))) }

// status reads a status and compares it.
func (l *link) status(code, hop byte, reason string) {
	l.Helper()
	b := l.take(3)
	text := string(l.take(int(b[2])))
	if b[0] != code || b[1] != hop || text != reason {
		l.Errorf("status %d of hop %d: %q, want %d of hop %d: %q", b[0], b[1], text, code, hop, reason)
	}
}

// ended makes sure that the link brings nothing more.
func (l *link) ended() {
	l.Helper()
	if b, err := io.ReadAll(l.r); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		l.Errorf("%d bytes more, %v", len(b), err)
	}
}

// session is a control link.
type session struct {
	*second
	control       *link
	keys          *keys
	peer          identity.Identifier
	name          string
	static        *ecdh.PrivateKey
	send, receive *direction
	flows         uint64
}

func (s *second) handshake(static *ecdh.PrivateKey, previous [16]byte) *initiator {
	e, err := ecdh.X25519().GenerateKey(rand.Reader)
	check(s.T, err)
	kem, err := mlkem.GenerateKey768()
	check(s.T, err)
	return &initiator{
		T: s.T, symmetric: newSymmetric(hybrid, prologue(hybrid, previous)), self: s.self, s: static, e: e, kem: kem,
	}
}

// session shakes hands. The opening message and the hello go out together.
func (s *second) session(name string) *session {
	s.Helper()
	static, err := ecdh.X25519().GenerateKey(rand.Reader)
	check(s.T, err)
	i := s.handshake(static, [16]byte{})
	first := s.opening(nil, step(2, "api"))
	first = append(append(first, 1, byte(len(hybrid))), hybrid...)
	l := s.dial(append(first, frame(i.message1())...))
	l.status(0, 1, "")
	re := i.message2(l.frame())
	l.send(frame(i.message3(re, name)))
	n := &session{second: s, control: l, keys: i.keys(), peer: i.peer, name: name, static: static}
	n.send, n.receive = n.keys.flow(0)
	return n
}

func (n *session) expect(kind byte, data []byte) {
	n.Helper()
	if k, d := n.receive.open(n.T, n.control.frame()); k != kind || !bytes.Equal(d, data) {
		n.Fatalf("record of type %d with %x on the control link, want type %d with %x", k, d, kind, data)
	}
}

func (n *session) ping(number uint64) {
	n.Helper()
	b := binary.BigEndian.AppendUint64(nil, number)
	n.control.send(n.send.seal(3, b))
	n.expect(4, b)
}

// renew makes new keys on the control link.
func (n *session) renew() {
	n.Helper()
	i := n.handshake(n.static, n.keys.id)
	n.control.send(n.send.seal(6, i.message1()))
	kind, m2 := n.receive.open(n.T, n.control.frame())
	if kind != 6 {
		n.Fatalf("record of type %d in a renewal", kind)
	}
	re := i.message2(m2)
	n.control.send(n.send.seal(6, i.message3(re, n.name)))
	n.expect(5, nil) // ready is the last record under the old key
	n.keys, n.flows = i.keys(), 0
	n.send, n.receive = n.keys.flow(0)
}

// flow is one of the session's flows, and an io.ReadWriteCloser.
type flow struct {
	*link
	send, receive *direction
	left          []byte
}

// hello returns the hello of the session's next flow, and its keys.
func (n *session) hello() ([]byte, *flow) {
	n.flows++
	f := new(flow)
	f.send, f.receive = n.keys.flow(n.flows)
	return binary.BigEndian.AppendUint64(append([]byte{2}, n.keys.id[:]...), n.flows), f
}

// open starts a flow on l, or on a new link, that asks for a service.
func (n *session) open(l *link, service string, payload []byte) *flow {
	n.Helper()
	hello, f := n.hello()
	first := append(hello, f.send.seal(0, n.opening(payload, step(1, service)))...)
	if l == nil {
		l = n.dial(append(n.opening(nil, step(2, "api")), first...))
		l.status(0, 1, "")
	} else {
		l.send(first)
	}
	f.link = l
	return f
}

func (f *flow) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), 65518)
		if _, err := f.link.Write(f.send.seal(0, rest[:n])); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

func (f *flow) end() { f.link.send(f.send.seal(1, nil)) }

func (f *flow) Read(p []byte) (int, error) {
	for len(f.left) == 0 {
		var size [2]byte
		if _, err := io.ReadFull(f.r, size[:]); err != nil {
			return 0, err
		}
		body := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(f.r, body); err != nil {
			return 0, err
		}
		kind, data := f.receive.open(f.T, body)
		switch kind {
		case 0:
			f.left = data
		case 1:
			return 0, io.EOF
		default:
			return 0, fmt.Errorf("record of type %d: %x", kind, data)
		}
	}
	n := copy(p, f.left)
	f.left = f.left[n:]
	return n, nil
}

// reply reads the flow's status and what follows it, until the end.
func (f *flow) reply() string {
	f.Helper()
	b, err := io.ReadAll(f)
	check(f.T, err)
	if !bytes.HasPrefix(b, []byte{0, 1, 0}) {
		f.Fatalf("the flow's status is %x", b)
	}
	return string(b[3:])
}

// ---- the first implementation, to talk to

// node runs a node that trusts those given, and returns it and where it listens.
func node(t *testing.T, allow ...identity.Identifier) (*route.Node, *identity.Identity, string) {
	t.Helper()
	id, err := identity.New(rand.Reader, time.Now())
	check(t, err)
	trust, err := trust.NewPolicy(trust.Config{Self: id.Identifier(), Allow: allow})
	check(t, err)
	n, err := route.NewNode(route.Config{
		Channel: channel.Config{Keepalive: time.Minute, Identity: id, Trust: trust, Suites: suites(t)}, Logger: slog.New(slog.DiscardHandler),
	})
	check(t, err)
	n.HandleBasics()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	var serving sync.WaitGroup
	serving.Go(func() { n.Serve(context.Background(), l) })
	t.Cleanup(func() {
		_ = n.Close()
		serving.Wait()
	})
	return n, id, l.Addr().String()
}

// suites keeps to the one suite that the second implementation has, whatever the processor.
func suites(t *testing.T) []noise.Suite {
	t.Helper()
	s, err := noise.ParseSuite(hybrid)
	check(t, err)
	return []noise.Suite{s}
}

// trusted returns a second implementation, and the node that it talks to and that trusts it.
func trusted(t *testing.T) (*second, *route.Node, *identity.Identity) {
	t.Helper()
	s := newSecond(t, "")
	n, id, at := node(t, s.self.identifier())
	s.to = at
	return s, n, id
}

// ---- the two, live

func TestSecondImplementation(t *testing.T) {
	s, node, id := trusted(t)
	n := s.session("")
	n.expect(5, nil)
	if n.peer != id.Identifier() {
		t.Errorf("the responder is %s", n.peer)
	}
	n.ping(7)

	f := n.open(nil, "echo", nil)
	_, _ = f.Write([]byte("hello"))
	f.end()
	if got := f.reply(); got != "hello" {
		t.Errorf("echo says %q", got)
	}
	f = n.open(f.link, "uppercase", nil) // the link is clean
	_, _ = f.Write([]byte("hello"))
	f.end()
	if got := f.reply(); got != "HELLO" {
		t.Errorf("uppercase says %q", got)
	}

	node.Renew()
	n.expect(8, nil) // it asks for a renewal
	n.renew()
	n.ping(8)
	f = n.open(nil, "echo", nil)
	f.end()
	if got := f.reply(); got != "" {
		t.Errorf("echo says %q to nothing", got)
	}
}

// TestKeyRatchet sends more records than one key is for, each way.
func TestKeyRatchet(t *testing.T) {
	s, _, _ := trusted(t)
	n := s.session("")
	n.expect(5, nil)
	f := n.open(nil, "echo", nil)
	const records = 65536 + 100
	var sending sync.WaitGroup
	sending.Go(func() {
		var out bytes.Buffer
		for range records {
			out.Write(f.send.seal(0, []byte("x")))
		}
		out.Write(f.send.seal(1, nil))
		_, _ = f.link.Write(out.Bytes())
	})
	got := f.reply()
	sending.Wait()
	if got != strings.Repeat("x", records) {
		t.Errorf("%d bytes came back, want %d", len(got), records)
	}
}

// TestRefusals is what the document says of peers that are refused.
func TestRefusals(t *testing.T) {
	s, _, _ := trusted(t)
	n := s.session("forward_to_elsewhere")
	n.expect(2, []byte{5}) // wrong name
	n.control.ended()

	stranger := newSecond(t, s.to)
	n = stranger.session("")
	n.expect(2, []byte{1}) // not trusted
	n.control.ended()

	l := s.dial(s.opening(nil, step(1, "nothing")))
	l.status(2, 1, "no service named nothing")
	l.ended()
	l = s.dial(s.opening(nil, step(1, "echo"))) // not without a channel
	l.status(2, 1, "no service named echo")
	l = s.dial(s.opening(nil, step(1, "hop"), step(1, "hop")))
	l.status(0, 1, "")
	l = s.dial(s.opening(nil, step(3, "\xc0\x00\x02\x01\x0f\xa0")))
	l.status(3, 1, "forwarding to 192.0.2.1:4000 is not allowed here")
	l = s.dial([]byte("GET / HTTP/1.1\r\n\r\n"))
	l.status(1, 0, "")
}

// TestReplay repeats a whole flow, as somebody on the way could.
func TestReplay(t *testing.T) {
	s, _, _ := trusted(t)
	n := s.session("")
	n.expect(5, nil)
	hello, f := n.hello()
	all := append(n.opening(nil, step(2, "api")), hello...)
	all = append(all, f.send.seal(0, n.opening(nil, step(1, "echo")))...)
	all = append(all, f.send.seal(1, nil)...)
	f.link = n.dial(all)
	f.status(0, 1, "")
	if got := f.reply(); got != "" {
		t.Errorf("echo says %q to nothing", got)
	}
	n.dial(all).ended() // not even a status
	n.ping(1)
}

// TestGoingAway is the end of a session in good order.
func TestGoingAway(t *testing.T) {
	s, node, _ := trusted(t)
	n := s.session("")
	n.expect(5, nil)
	var stopping sync.WaitGroup
	stopping.Go(func() { _ = node.Shutdown(context.Background()) })
	n.expect(7, nil)
	n.expect(2, []byte{2})
	n.control.ended()
	stopping.Wait()
}

// ---- the second implementation as an outlet behind a relay

// sparePayload is what a spare link begins with.
func sparePayload(ticket []byte, number uint64) []byte {
	said := binary.BigEndian.AppendUint64(bytes.Clone(ticket[:16]), number)
	return append(said, mac(ticket[16:48], said)[:16]...)
}

// message reads an opening message and returns its onward route and the number of its labels.
func (l *link) message() (onward []byte, labels int) {
	l.Helper()
	header := l.take(4)
	body := l.take(int(binary.BigEndian.Uint16(header[2:])))
	at := 1
	for range body[0] {
		at += 2 + int(body[at+1])
	}
	return body[1:at], int(body[at])
}

func TestSecondImplementationAsOutlet(t *testing.T) {
	s, self, _ := trusted(t)
	relay.NewServer(self, relay.ServerConfig{})
	n := s.session("")
	n.expect(5, nil)
	f := n.open(nil, "register", []byte("\x00db"))
	answer := make([]byte, 3+48)
	_, err := io.ReadFull(f, answer)
	check(t, err)
	if !bytes.Equal(answer[:3], []byte{0, 1, 0}) {
		t.Fatalf("register answers %x", answer[:3])
	}
	ticket := answer[3:]

	spare := s.dial(s.opening(sparePayload(ticket, 1), step(1, "spare")))
	spare.status(0, 1, "")
	replayed := s.dial(s.opening(sparePayload(ticket, 1), step(1, "spare")))
	replayed.status(0, 1, "")
	replayed.ended()
	forged := sparePayload(ticket, 2)
	forged[len(forged)-1] ^= 1
	s.dial(s.opening(forged, step(1, "spare"))).status(6, 1, "")

	inlet, _, _ := node(t)
	s.asked(inlet, spare)

	mux, err := yamux.Server(f, nil)
	check(t, err)
	defer mux.Close()
	defer f.Close()
	demand := s.accept(mux)
	s.askedOn(inlet, func() *link {
		if b := demand.take(1); b[0] != 0 { // the relay lacks a spare link, and gets none
			t.Errorf("the relay demands %x", b)
		}
		return s.accept(mux)
	})
}

// accept takes a link that the relay opens in the mux.
func (s *second) accept(mux *yamux.Session) *link {
	s.Helper()
	stream, err := mux.Accept()
	check(s.T, err)
	_ = stream.SetDeadline(time.Now().Add(20 * time.Second))
	return &link{s.T, stream, bufio.NewReader(stream)}
}

func (s *second) asked(inlet *route.Node, l *link) { s.askedOn(inlet, func() *link { return l }) }

// askedOn lets an inlet ask for a service behind the relay, and refuses it on the link that the relay uses.
func (s *second) askedOn(inlet *route.Node, l func() *link) {
	s.Helper()
	at := transport.FromAddrPort(netip.MustParseAddrPort(s.to))
	to := route.Route{at, {Kind: wire.Service, Name: "forward_to_db"}, {Kind: wire.Service, Name: "clock"}}
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Second)
	defer cancel()
	stream, err := inlet.Open(ctx, to, 0)
	check(s.T, err)
	defer stream.Close()
	check(s.T, stream.Flush())
	link := l()
	onward, labels := link.message()
	if !bytes.Equal(onward, step(1, "clock")) || labels != 2 {
		s.Errorf("the relay sends on %x with %d labels", onward, labels)
	}
	link.send(append([]byte{2, 2, 6}, "no one"...))
	var status *route.StatusError
	if err := stream.Await(ctx); !errors.As(err, &status) || status.Code != wire.NoService || status.Reason != "no one" || status.Hop != 2 {
		s.Errorf("the inlet hears %v", err)
	}
	_ = link.Close()
}

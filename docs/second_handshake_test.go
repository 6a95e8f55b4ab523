// The second implementation's handshake and records, from the standard library only.

package docs_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/secureportal/sp/identity"
)

func privateKey(b []byte) *ecdh.PrivateKey {
	key, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		panic(err) // the tests' own
	}
	return key
}

// frame puts a length of two bytes in front of b.
func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

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
	plaintext := b
	if s.k != nil {
		var err error
		plaintext, err = gcm(s.k).Open(nil, nonce(s.n), b, s.h)
		check(t, err)
		s.n++
	}
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

// initiator is one handshake of the second implementation.
type initiator struct {
	*testing.T
	*symmetric
	self    *person
	s, e    *ecdh.PrivateKey
	kem     *mlkem.DecapsulationKey768 // nil in a suite that is not hybrid
	peer    identity.Identifier
	survive uint32 // for how long this side keeps a flow that has lost its link, in ms
	payload []byte // of message 2
	sent    []byte // the payload of message 3
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
	name, _, proof := parsePayload(i.payload)
	if name != "" {
		i.Fatal("a responder has no name to give")
	}
	i.peer = verifyProof(i.T, 2, i.hash2, proof)
	return re
}

func (i *initiator) message3(re []byte, name string) []byte {
	out := i.seal(i.s.PublicKey().Bytes())
	i.mixDH(i.T, i.s, re)
	i.hash3 = i.h
	i.sent = payload(name, i.survive, i.self.prove(1, i.hash3))
	return append(out, i.seal(i.sent)...)
}

// payload is that of the messages 2 and 3.
func payload(name string, survive uint32, proof []byte) []byte {
	b := append([]byte{byte(len(name))}, name...)
	return append(binary.BigEndian.AppendUint32(b, survive), proof...)
}

func parsePayload(b []byte) (name string, survive uint32, proof []byte) {
	name, b = string(b[1:1+b[0]]), b[1+b[0]:]
	return name, binary.BigEndian.Uint32(b), b[4:]
}

// responder is one handshake in which the second implementation answers, with the hybrid suite.
type responder struct {
	*testing.T
	*symmetric
	self    *person
	s, e    *ecdh.PrivateKey
	re      []byte
	re1     *mlkem.EncapsulationKey768
	peer    identity.Identifier
	name    string // what the initiator believes it has reached
	survive uint32 // for how long this side keeps a flow that has lost its link, in ms
	sent    []byte // the payload of message 2
	payload []byte // of message 3
}

func (r *responder) message1(m []byte) {
	r.re = m[:32]
	r.mixHash(r.re)
	var err error
	r.re1, err = mlkem.NewEncapsulationKey768(r.open(r.T, m[32:32+mlkem.EncapsulationKeySize768]))
	check(r.T, err)
	if rest := r.open(r.T, m[32+mlkem.EncapsulationKeySize768:]); len(rest) > 0 {
		r.Fatalf("message 1 has the payload %x", rest)
	}
}

func (r *responder) message2(
	encapsulate func(*mlkem.EncapsulationKey768) (shared, ciphertext []byte),
) []byte {
	out := r.e.PublicKey().Bytes()
	r.mixHash(out)
	r.mixDH(r.T, r.e, r.re)
	shared, ciphertext := encapsulate(r.re1)
	out = append(out, r.seal(ciphertext)...)
	r.mixKey(shared)
	out = append(out, r.seal(r.s.PublicKey().Bytes())...)
	r.mixDH(r.T, r.s, r.re)
	r.sent = payload("", r.survive, r.self.prove(2, r.h))
	return append(out, r.seal(r.sent)...)
}

func (r *responder) message3(m []byte) {
	r.mixDH(r.T, r.e, r.open(r.T, m[:48]))
	hash := r.h
	r.payload = r.open(r.T, m[48:])
	var proof []byte
	r.name, _, proof = parsePayload(r.payload)
	r.peer = verifyProof(r.T, 1, hash, proof)
}

// keys are what a handshake gives.
type keys struct {
	secret []byte
	id     [16]byte
	resume []byte // proves, when a flow is resumed, that one has had these keys
}

// keys are what follows from a handshake that is done.
func (s *symmetric) keys() *keys {
	secret, _ := hkdf(s.ck, append([]byte("sp/1 session"), s.h...))
	k := &keys{secret: secret}
	copy(k.id[:], mac(secret, []byte("id"+"sp/1 session id")))
	k.resume = mac(secret, []byte("id"+"sp/1 resume"))[:16]
	return k
}

// flow returns the keys of flow n, for what each side sends.
func (k *keys) flow(n uint64) (initiator, responder *direction) {
	a, b := hkdf(k.secret, binary.BigEndian.AppendUint64([]byte("keys"+"sp/1 flow"), n))
	return &direction{key: a}, &direction{key: b}
}

type direction struct {
	key  []byte
	n    uint64
	kept []piece // all that record has made, in case that it has to be sent again
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

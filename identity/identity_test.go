package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestNew(t *testing.T) {
	a, err := New(nil, t0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(nil, t0)
	if err != nil {
		t.Fatal(err)
	}
	if a.Identifier() == b.Identifier() {
		t.Error("two new identities are the same")
	}
	if x, y := newIdentity(t, "x"), newIdentity(t, "x"); x.Identifier() != y.Identifier() {
		t.Error("the random source is not the only source of the key")
	}
	_, err = New(bytes.NewReader(make([]byte, 31)), t0)
	wantErr(t, err, io.ErrUnexpectedEOF, "no random bytes")
	_, err = a.Rotate(bytes.NewReader(nil), t0)
	wantErr(t, err, io.EOF, "no random bytes")
	_, err = New(nil, time.Unix(-1, 0))
	wantErr(t, err, errTime, "time of creation")
	_, err = New(nil, time.Unix(maxTime+1, 0))
	wantErr(t, err, errTime, "time of creation")
}

// However an identity is printed, and as a part of whatever, the key is not shown.
func TestSecretIsNotPrinted(t *testing.T) {
	id := newIdentity(t, "a")
	type holder struct {
		ID      *Identity
		private *Identity
		value   Identity
	}
	h := holder{id, id, *id}
	j, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{id.String(), string(j)}
	for _, verb := range []string{
		"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%p", "%t", "%g",
	} {
		printed = append(printed, fmt.Sprintf(verb, id), fmt.Sprintf(verb, *id),
			fmt.Sprintf(verb, h), fmt.Sprintf(verb, &h), fmt.Sprintf(verb, []any{id, *id}))
	}
	for _, s := range printed {
		if leaks(s, id.key()) {
			t.Errorf("printed with its key: %q", s)
		}
	}
	if !leaks(fmt.Sprintf("%d", id.key()), id.key()) {
		t.Error("the test does not find a key that is there")
	}
	if s := fmt.Sprintf("%d", id); s != id.Identifier().String() {
		t.Errorf("printed as %q, want the Identifier", s)
	}
}

// leaks reports whether s has the key's first bytes in some notation.
func leaks(s string, key ed25519.PrivateKey) bool {
	part := key[:9] // a multiple of three for base64
	notations := []string{
		hex.EncodeToString(part), string(part),
		base64.RawStdEncoding.EncodeToString(part), base64.RawURLEncoding.EncodeToString(part),
		strings.Trim(fmt.Sprintf("%d", part), "[]"), strings.Trim(fmt.Sprintf("%o", part), "[]"),
		strings.Trim(fmt.Sprintf("%b", part), "[]"),
		strings.Trim(fmt.Sprintf("%#v", []byte(part)), "[]byte{}"),
		strings.Trim(fmt.Sprintf("%U", part), "[]"),
	}
	for _, n := range notations {
		if strings.Contains(strings.ToLower(s), strings.ToLower(n)) {
			return true
		}
	}
	return false
}

func TestProof(t *testing.T) {
	authority := newIdentity(t, "authority")
	for _, id := range []*Identity{newIdentity(t, "a"), rotated(t, newIdentity(t, "a"), "b")} {
		for _, role := range []Role{Initiator, Responder} {
			c := issued(t, authority, id.Identifier(), "role=db")
			proof, err := id.Prove(role, testHash, [][]byte{c.Bytes(), c.Bytes()}, nil)
			if err != nil {
				t.Fatal(err)
			}
			peer, err := verifyProof(role, testHash, proof)
			if err != nil {
				t.Fatal(err)
			}
			if peer.Identifier() != id.Identifier() || peer.History.Len() != id.History().Len() {
				t.Error("the proof shows another history")
			}
			if len(peer.Credentials) != 2 || !bytes.Equal(peer.Credentials[1].Bytes(), c.Bytes()) {
				t.Error("the proof shows other credentials")
			}
			_, err = verifyProof(Initiator+Responder-role, testHash, proof)
			wantErr(t, err, nil, "not signed")
			other := bytes.Clone(testHash)
			other[31] ^= 1
			_, err = verifyProof(role, other, proof)
			wantErr(t, err, nil, "not signed")
			_, err = verifyProof(role, append(bytes.Clone(testHash), 0), proof)
			wantErr(t, err, nil, "not signed")
		}
	}
}

func TestProofMangled(t *testing.T) {
	t.Parallel()
	id := newIdentity(t, "a")
	c := issued(t, newIdentity(t, "authority"), id.Identifier(), "role=db")
	proof, err := id.Prove(Initiator, testHash, [][]byte{c.Bytes()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mangle(t, proof, func(b []byte) error {
		_, err := verifyProof(Initiator, testHash, b)
		return err
	})
}

// What an attacker could try who does not hold the current key.
func TestProofForged(t *testing.T) {
	old := newIdentity(t, "a")
	id := rotated(t, old, "b")
	thief := newIdentity(t, "thief")
	for name, forger := range map[string]*Identity{
		"given-up key under the new history": {history: id.history, key: old.key},
		"another's key":                      {history: id.history, key: thief.key},
	} {
		proof, err := forger.Prove(Initiator, testHash, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verifyProof(Initiator, testHash, proof); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// A history that ends with the thief's key, with a proof that is right by that key.
	raw := id.History().Bytes()
	copy(raw[1+firstChangeSize+2+hashSize:], thief.History().PublicKey())
	d := &decoder{b: raw}
	forged := &Identity{history: decodeHistory(d), key: thief.key}
	proof, err := forged.Prove(Initiator, testHash, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = verifyProof(Initiator, testHash, proof)
	wantErr(t, err, nil, "history: change 2")
}

func TestProofLimits(t *testing.T) {
	t.Parallel()
	id := newIdentity(t, "a")
	long := id
	for _, name := range names("key", MaxChanges-1) {
		long = rotated(t, long, name)
	}
	attributes := make(map[string]string)
	for i, k := range names(strings.Repeat("k", MaxAttributeKey-2), MaxAttributes) {
		k = (k + "x")[:MaxAttributeKey-1] + string(rune('a'+i))
		attributes[k] = strings.Repeat("v", MaxAttributeValue)
	}
	big, err := long.Issue(nil, Claims{
		Subject: id.Identifier(), Attributes: attributes, NotBefore: t0, Expires: t0.Add(1e9),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(big.Bytes()); got != MaxCredential {
		t.Errorf("the longest credential has %d bytes, want %d", got, MaxCredential)
	}
	if again, err := ParseCredentialText(big.String()); err != nil ||
		!bytes.Equal(again.Bytes(), big.Bytes()) {
		t.Errorf("the longest credential as text: %v", err)
	}
	proof, err := long.Prove(Responder, testHash, [][]byte{big.Bytes()}, nil)
	if err != nil {
		t.Fatalf("the longest history beside the longest credential: %v", err)
	}
	if _, err := verifyProof(Responder, testHash, proof); err != nil {
		t.Error(err)
	}
	_, err = long.Prove(Responder, testHash, [][]byte{big.Bytes(), big.Bytes()}, nil)
	wantErr(t, err, nil, "at most 24576 are allowed")
	small := issued(t, id, id.Identifier()).Bytes()
	_, err = id.Prove(Responder, testHash,
		[][]byte{small, small, small, small, small, small, small, small, small}, nil)
	wantErr(t, err, nil, "9 credentials")
	_, err = id.Prove(Responder, testHash, [][]byte{small, []byte("junk")}, nil)
	wantErr(t, err, nil, "credential 2: credential: version is 106")
	for _, n := range []int{0, 31, 65} {
		_, err = id.Prove(Responder, make([]byte, n), nil, nil)
		wantErr(t, err, nil, "handshake hash")
		_, err = verifyProof(Responder, make([]byte, n), proof)
		wantErr(t, err, nil, "handshake hash")
	}
	_, err = id.Prove(3, testHash, nil, nil)
	wantErr(t, err, nil, "unknown role 3")
	_, err = verifyProof(0, testHash, proof)
	wantErr(t, err, nil, "unknown role 0")
	_, err = verifyProof(Responder, testHash, make([]byte, MaxProof+1))
	wantErr(t, err, nil, "24577 bytes")
}

// Refusing a payload at its limit must not cost more than reading it: nothing is
// verified before all of it has been decoded and the proof's own signature is right.
func TestProofChecksInOrder(t *testing.T) {
	id := newIdentity(t, "a")
	proof, err := id.Prove(Initiator, testHash, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	proof[2+changeBodySize] ^= 1 // the history's signature: found second
	_, err = verifyProof(Initiator, testHash, proof)
	wantErr(t, err, nil, "not signed by the identity's current key")
	if _, err := ParseHistory(proof[1 : 2+firstChangeSize]); err == nil ||
		errors.Is(err, errTrailing) {
		t.Errorf("history: %v, want a signature that is wrong", err)
	}
}

// What is derived is nothing to who knows what is derived for something else, and the same as long
// as the key is.
func TestDerive(t *testing.T) {
	id, err := New(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := id.Rotate(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	one := id.Derive("one")
	if one != id.Derive("one") {
		t.Error("it is not the same again")
	}
	if one == id.Derive("another") || one == rotated.Derive("one") || one == [32]byte{} {
		t.Error("it is the same for something else")
	}
}

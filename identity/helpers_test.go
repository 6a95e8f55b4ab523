package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// t0 is the time at which everything in the tests happens.
var t0 = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

var testHash = bytes.Repeat([]byte{0x5a}, 32)

// seeded returns random bytes that are the same in every run.
func seeded(name string) io.Reader {
	var seed [32]byte
	copy(seed[:], name)
	return rand.NewChaCha8(seed)
}

func newIdentity(t testing.TB, name string) *Identity {
	t.Helper()
	id, err := New(seeded(name), t0)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func rotated(t testing.TB, id *Identity, name string) *Identity {
	t.Helper()
	next, err := id.Rotate(seeded(name), t0.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func issued(
	t testing.TB, authority *Identity, subject Identifier, attributes ...string,
) *Credential {
	t.Helper()
	m := make(map[string]string)
	for _, a := range attributes {
		k, v, _ := strings.Cut(a, "=")
		m[k] = v
	}
	c, err := authority.Issue(seeded("serial"), Claims{
		Subject: subject, Attributes: m, NotBefore: t0, Expires: t0.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verifyProof decodes and verifies a proof.
func verifyProof(role Role, handshakeHash, payload []byte) (*Peer, error) {
	p, err := ParseProof(role, payload)
	if err != nil {
		return nil, err
	}
	return p.Verify(handshakeHash)
}

func writeTemp(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	write(t, path, content)
	return path
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// mangle calls accept with b after every flip of one bit, every truncation, and with a
// byte too many. None may be accepted.
func mangle(t *testing.T, b []byte, accept func([]byte) error) {
	t.Helper()
	if err := accept(b); err != nil {
		t.Fatalf("the original is refused: %v", err)
	}
	for i := range len(b) * 8 {
		flipped := bytes.Clone(b)
		flipped[i/8] ^= 1 << (i % 8)
		if accept(flipped) == nil {
			t.Errorf("accepted with bit %d of byte %d flipped", i%8, i/8)
		}
	}
	for n := range len(b) {
		if accept(bytes.Clone(b[:n])) == nil {
			t.Errorf("accepted when cut after %d of %d bytes", n, len(b))
		}
	}
	for _, extra := range []byte{0, '\n', 0xff} {
		if accept(append(bytes.Clone(b), extra)) == nil {
			t.Errorf("accepted with a byte %#02x after the end", extra)
		}
	}
}

// wantErr fails unless err wraps target and contains text.
func wantErr(t *testing.T, err, target error, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", text)
	}
	if target != nil && !errors.Is(err, target) {
		t.Errorf("error %q does not wrap %q", err, target)
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("error %q does not say %q", err, text)
	}
}

// testChange is a change as a forger would make it: every part can be set.
type testChange struct {
	version, kind byte
	previous      [32]byte
	key           ed25519.PublicKey
	created       uint64
	byNew, byOld  ed25519.PrivateKey // nil: no signature but zeros
}

func (c testChange) body() []byte {
	b := append([]byte{c.version, c.kind}, c.previous[:]...)
	b = append(b, c.key...)
	return binary.BigEndian.AppendUint64(b, c.created)
}

func testKey(name string) ed25519.PrivateKey {
	key, err := newKey(seeded(name))
	if err != nil {
		panic(err)
	}
	return key
}

func testSign(key ed25519.PrivateKey, body []byte) []byte {
	if key == nil {
		return make([]byte, signatureSize)
	}
	return sign(key, contextChange, body)
}

// encodeChanges makes a history of such changes, true or not.
func encodeChanges(changes ...testChange) []byte {
	b := []byte{byte(len(changes))}
	for i, c := range changes {
		b = append(b, c.body()...)
		b = append(b, testSign(c.byNew, c.body())...)
		if i > 0 {
			b = append(b, testSign(c.byOld, c.body())...)
		}
	}
	return b
}

func names(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, i)
	}
	return out
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secureportal/sp/identity"
)

// These helpers are those of package identity, whose tests cannot share them.

// t0 is the time at which everything in the tests happens.
var t0 = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

var testHash = bytes.Repeat([]byte{0x5a}, 32)

const testRoute = "/dnsaddr/relay.example.com/tcp/4000/service/forward_to_db" +
	"/secure/api/service/outlet"

// anInlet is what peers are taken for, where that is not what a test is about.
var anInlet = As{Role: Inlet}

// Sizes in the encodings of package identity, in bytes.
const (
	hashSize      = 32
	serialSize    = 16
	signatureSize = 64
)

// seeded returns random bytes that are the same in every run.
func seeded(name string) io.Reader {
	var seed [32]byte
	copy(seed[:], name)
	return rand.NewChaCha8(seed)
}

func newIdentity(t testing.TB, name string) *identity.Identity {
	t.Helper()
	id, err := identity.New(seeded(name), t0)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func rotated(t testing.TB, id *identity.Identity, name string) *identity.Identity {
	t.Helper()
	next, err := id.Rotate(seeded(name), t0.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func issued(
	t testing.TB, authority *identity.Identity, subject identity.Identifier, attributes ...string,
) *identity.Credential {
	t.Helper()
	m := make(map[string]string)
	for _, a := range attributes {
		k, v, _ := strings.Cut(a, "=")
		m[k] = v
	}
	c, err := authority.Issue(seeded("serial"), identity.Claims{
		Subject: subject, Attributes: m, NotBefore: t0, Expires: t0.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func peerOf(id *identity.Identity, credentials ...*identity.Credential) *identity.Peer {
	return &identity.Peer{History: id.History(), Credentials: credentials}
}

func newPolicy(t testing.TB, cfg Config) *Policy {
	t.Helper()
	p, err := NewPolicy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ticketOf(t testing.TB, issuer *identity.Identity) *identity.Ticket {
	t.Helper()
	k, err := issuer.Ticket(nil, testRoute, t0.Add(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return k
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

func names(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, i)
	}
	return out
}

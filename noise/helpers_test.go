package noise

import (
	"bytes"
	"context"
	"crypto/ecdh"
	crand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// skip is how every test here skips, so that a run can be searched for it.
func skip(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Skipf("skip: "+format, args...)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func unhex(s string) []byte { return must(hex.DecodeString(s)) }

func fixed(p []byte) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return p, nil }
}

// newRand returns a source of randomness that can be had again from the log.
func newRand(t testing.TB) *rand.ChaCha8 {
	var seed [32]byte
	must(crand.Read(seed[:]))
	if _, ok := t.(*testing.B); !ok {
		t.Logf("seed %x", seed)
	}
	return rand.NewChaCha8(seed)
}

func randomBytes(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	must(r.Read(b))
	return b
}

func staticKey(private []byte) *ecdh.PrivateKey {
	return must(ecdh.X25519().NewPrivateKey(private))
}

func suite(t testing.TB, name string) Suite {
	t.Helper()
	s, err := ParseSuite(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newPair returns both sides of a handshake that has not begun.
func newPair(s Suite, r *rand.ChaCha8, prologue []byte) (initiator, responder *HandshakeState) {
	cfg := Config{Suite: s, Prologue: prologue, Random: r}
	cfg.Static, cfg.Initiator = staticKey(randomBytes(r, KeySize)), true
	initiator = must(NewHandshakeState(cfg))
	cfg.Static, cfg.Initiator = staticKey(randomBytes(r, KeySize)), false
	responder = must(NewHandshakeState(cfg))
	return initiator, responder
}

// clone returns a copy of hs that lives a life of its own.
func clone(hs *HandshakeState) *HandshakeState {
	c := &HandshakeState{
		suite: hs.suite, initiator: hs.initiator, random: hs.random, encapsulate: hs.encapsulate,
		s: hs.s, e: hs.e, rs: hs.rs, re: hs.re, e1: hs.e1, re1: hs.re1,
		next: hs.next, done: hs.done, split: hs.split, err: hs.err,
	}
	c.ss.hash, c.ss.ck, c.ss.h = hs.ss.hash, bytes.Clone(hs.ss.ck), bytes.Clone(hs.ss.h)
	c.ss.cs.fn, c.ss.cs.aead, c.ss.cs.n = hs.ss.cs.fn, hs.ss.cs.aead, hs.ss.cs.n
	c.ss.cs.k, c.ss.cs.key = hs.ss.cs.k, hs.ss.cs.key
	return c
}

// step is a message of a genuine handshake, with both sides as they were when it
// had been written and not yet read.
type step struct {
	message        []byte
	payload        []byte
	writer, reader *HandshakeState
}

// record runs a handshake whose payloads have these sizes.
func record(t testing.TB, s Suite, r *rand.ChaCha8, sizes ...int) []step {
	t.Helper()
	w, rd := newPair(s, r, []byte("prologue"))
	var steps []step
	for _, size := range sizes {
		p := randomBytes(r, size)
		m, err := w.WriteMessage(nil, fixed(p))
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step{m, p, clone(w), clone(rd)})
		got, _, err := rd.ReadMessage(m)
		if err != nil || !bytes.Equal(got, p) {
			t.Fatalf("payload %x, %v; want %x", got, err, p)
		}
		w, rd = rd, w
	}
	if !w.Done() || !rd.Done() {
		t.Fatal("handshake is not done")
	}
	return steps
}

// deliver hands message to the reader of s in the place of the genuine one, lets
// the handshake go on, and returns the error that stops it.
func (s step) deliver(message []byte) error {
	w, r := clone(s.writer), clone(s.reader)
	for {
		if _, _, err := r.ReadMessage(message); err != nil {
			return err
		}
		if w.Done() && r.Done() {
			return nil
		}
		w, r = r, w
		var err error
		if message, err = w.WriteMessage(nil, nil); err != nil {
			return err
		}
	}
}

// vectorFile reads a file of test vectors that are not part of the project.
func vectorFile(t testing.TB, name string, into any) {
	t.Helper()
	dir := os.Getenv("SP_VECTORS")
	if dir == "" {
		dir = findUp(filepath.Join("shared", "vectors"))
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		skip(t, "no %s in $SP_VECTORS or shared/vectors", name)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// findUp looks for a path in this folder and those above it.
func findUp(path string) string {
	dir := must(os.Getwd())
	for {
		if p := filepath.Join(dir, path); filepath.Dir(dir) == dir || exists(p) {
			return p
		}
		dir = filepath.Dir(dir)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// moduleDir returns the folder of a module that need not be in go.mod.
func moduleDir(t testing.TB, module, sum string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir()
	cmd.Env = append(
		os.Environ(), "GOWORK=off", "GOFLAGS=", "GONOSUMDB=*") // the sum is compared below
	out, err := cmd.Output()
	var got struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &got); err != nil || jsonErr != nil {
		skip(t, "module %s cannot be had: %v %s", module, err, got.Error)
	}
	if got.Sum != sum {
		t.Fatalf("module %s has sum %s, want %s", module, got.Sum, sum)
	}
	return got.Dir
}

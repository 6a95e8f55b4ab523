package identity

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	wycheproofModule = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"
	wycheproofSum    = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="
)

// The vectors have no context: what is signed is the message alone. Every key in them is one that
// an identity may have.
func TestWycheproofEd25519(t *testing.T) {
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			PublicKey struct{ Pk string }
			Tests     []struct {
				TcID             int
				Msg, Sig, Result string
			}
		}
	}
	wycheproof(t, "ed25519_test.json", &file)
	n := 0
	for _, g := range file.TestGroups {
		key := ed25519.PublicKey(unhex(t, g.PublicKey.Pk))
		if err := checkPublicKey(key); err != nil {
			t.Errorf("key %x: %v", key, err)
		}
		for _, v := range g.Tests {
			n++
			if got := verify(key, unhex(t, v.Sig), "", unhex(t, v.Msg)); got != (v.Result == "valid") {
				t.Errorf("test %d, %s: verifies %t", v.TcID, v.Result, got)
			}
		}
	}
	if n < 150 || n != file.NumberOfTests {
		t.Errorf("%d tests of %d", n, file.NumberOfTests)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wycheproof reads a file of a module that is not in go.mod, or skips where it cannot be had.
func wycheproof(t *testing.T, name string, into any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", wycheproofModule)
	cmd.Dir = t.TempDir()
	cmd.Env = append(
		os.Environ(), "GOWORK=off", "GOFLAGS=", "GONOSUMDB=*") // the sum is compared below
	out, err := cmd.Output()
	var got struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &got); err != nil || jsonErr != nil {
		t.Skipf("skip: module %s cannot be had: %v %s", wycheproofModule, err, got.Error)
	}
	if got.Sum != wycheproofSum {
		t.Fatalf("module %s has sum %s, want %s", wycheproofModule, got.Sum, wycheproofSum)
	}
	data, err := os.ReadFile(filepath.Join(got.Dir, "testvectors_v1", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

package noise

import (
	"bytes"
	"crypto/ecdh"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const (
	wycheproofModule = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"
	wycheproofSum    = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="
)

func wycheproof(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(
		filepath.Join(moduleDir(t, wycheproofModule, wycheproofSum), "testvectors_v1", name),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// The MixKey of every vector is the one with the vector's shared secret; where
// that is zero, there is none.
func TestWycheproofX25519(t *testing.T) {
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			Tests []struct {
				TcID                    int
				Flags                   []string
				Public, Private, Shared string
			}
		}
	}
	wycheproof(t, "x25519_test.json", &file)
	n, zero := 0, 0
	for _, g := range file.TestGroups {
		for _, v := range g.Tests {
			n++
			hs, want := HandshakeState{}, HandshakeState{}
			hs.ss.initialize(Suites()[0])
			want.ss.initialize(Suites()[0])
			want.ss.mixKey(unhex(v.Shared))
			err := hs.mixDH(staticKey(unhex(v.Private)), must(ecdh.X25519().NewPublicKey(unhex(v.Public))))
			if slices.Contains(v.Flags, "ZeroSharedSecret") {
				zero++
				if err == nil || hs.ss.cs.hasKey() {
					t.Errorf("test %d: zero shared secret accepted", v.TcID)
				}
			} else if err != nil || !bytes.Equal(hs.ss.ck, want.ss.ck) {
				t.Errorf("test %d: wrong key, %v", v.TcID, err)
			}
		}
	}
	if n == 0 || n != file.NumberOfTests || zero == 0 {
		t.Errorf("%d tests of %d, %d of them with a zero shared secret", n, file.NumberOfTests, zero)
	}
}

// That the ciphers behind the names are the ones that are meant.
func TestWycheproofCiphers(t *testing.T) {
	for i, name := range []string{"aes_gcm_test.json", "chacha20_poly1305_test.json"} {
		t.Run(cipherFuncs[i].name, func(t *testing.T) {
			var file struct {
				TestGroups []struct {
					KeySize, IvSize, TagSize int
					Tests                    []struct {
						TcID                       int
						Key, Iv, Aad, Msg, Ct, Tag string
						Result                     string
					}
				}
			}
			wycheproof(t, name, &file)
			n := 0
			for _, g := range file.TestGroups {
				if g.KeySize != 8*KeySize || g.IvSize != 96 || g.TagSize != 8*TagSize {
					continue
				}
				for _, v := range g.Tests {
					n++
					aead := must(cipherFuncs[i].new(unhex(v.Key)))
					got, err := aead.Open(nil, unhex(v.Iv), unhex(v.Ct+v.Tag), unhex(v.Aad))
					if valid := v.Result == "valid"; (err == nil) != valid ||
						(valid && !bytes.Equal(got, unhex(v.Msg))) {
						t.Errorf("test %d, %s: %x, %v", v.TcID, v.Result, got, err)
					}
					if c := aead.Seal(nil, unhex(v.Iv), unhex(v.Msg), unhex(v.Aad)); v.Result == "valid" &&
						!bytes.Equal(c, unhex(v.Ct+v.Tag)) {
						t.Errorf("test %d: encrypts to %x", v.TcID, c)
					}
				}
			}
			if n < 50 {
				t.Errorf("only %d tests", n)
			}
		})
	}
}

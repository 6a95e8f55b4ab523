package noise

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// Noise's HKDF is RFC 5869's without info: the chaining key is the salt, and the outputs are the
// first blocks.
func TestWycheproofHKDF(t *testing.T) {
	for _, h := range hashFuncs[:2] {
		t.Run(h.name, func(t *testing.T) {
			var file struct {
				TestGroups []struct {
					Tests []struct {
						TcID, Size           int
						Ikm, Salt, Info, Okm string
						Result               string
					}
				}
			}
			wycheproof(t, "hkdf_"+strings.ToLower(h.name)+"_test.json", &file)
			n := 0
			for _, g := range file.TestGroups {
				for _, v := range g.Tests {
					if v.Info != "" || v.Result != "valid" || v.Size > 2*h.new().Size() {
						continue
					}
					n++
					out1, out2 := h.hkdf2(unhex(v.Salt), unhex(v.Ikm))
					if got := append(out1, out2...)[:v.Size]; !bytes.Equal(got, unhex(v.Okm)) {
						t.Errorf("test %d: %x, want %s", v.TcID, got, v.Okm)
					}
				}
			}
			if n < 30 {
				t.Errorf("only %d tests", n)
			}
		})
	}
}

// mlkemFile is any of Wycheproof's files for ML-KEM.
type mlkemFile struct {
	NumberOfTests int
	TestGroups    []struct {
		ParameterSet string
		Tests        []mlkemTest
	}
}

type mlkemTest struct {
	TcID           int
	Seed, Ek, M, C string
	K              string // the shared secret
	Result         string
}

// eachMLKEM calls f for each test of a file.
func eachMLKEM(t *testing.T, name string, f func(v mlkemTest) error) {
	var file mlkemFile
	wycheproof(t, name, &file)
	n := 0
	for _, g := range file.TestGroups {
		if g.ParameterSet != "ML-KEM-768" {
			t.Errorf("parameters of %s", g.ParameterSet)
		}
		for _, v := range g.Tests {
			n++
			if err := f(v); (err == nil) != (v.Result == "valid") {
				t.Errorf("test %d, %s: %v", v.TcID, v.Result, err)
			}
		}
	}
	if n < 100 || n != file.NumberOfTests {
		t.Errorf("%d tests of %d", n, file.NumberOfTests)
	}
}

// hybridSide is a side of a handshake that has no key yet.
func hybridSide(random []byte) *HandshakeState {
	hs := &HandshakeState{random: bytes.NewReader(random)}
	hs.ss.initialize(Suites()[0])
	return hs
}

// whole fails if something is left of a message.
func whole(rest []byte, err error) error {
	if err == nil && len(rest) > 0 {
		return fmt.Errorf("%d bytes too many", len(rest))
	}
	return err
}

// sharedSecret compares what a handshake has mixed in with a vector's shared secret.
func sharedSecret(hs *HandshakeState, k string) error {
	want := hybridSide(nil)
	want.ss.mixKey(unhex(k))
	if !bytes.Equal(hs.ss.ck, want.ss.ck) {
		return errors.New("another shared secret")
	}
	return nil
}

// Both tokens of the initiator: e1 as the seed makes it, and ekem1 read with its key, also where
// the ciphertext is none that the key ever made.
func TestWycheproofMLKEMDecapsulate(t *testing.T) {
	eachMLKEM(t, "mlkem_768_test.json", func(v mlkemTest) error {
		seed := unhex(v.Seed)
		if len(seed) > mlkem.SeedSize {
			return errors.New("a seed that is too long cannot be given")
		}
		hs := hybridSide(seed)
		ek, err := hs.writeE1(nil)
		if err != nil {
			return err
		}
		if v.Ek != "" && !bytes.Equal(ek, unhex(v.Ek)) {
			t.Errorf("test %d: another encapsulation key", v.TcID)
		}
		if err := whole(hs.readEKEM1(unhex(v.C))); err != nil {
			return err
		}
		return sharedSecret(hs, v.K)
	})
}

func TestWycheproofMLKEMGenerate(t *testing.T) {
	eachMLKEM(t, "mlkem_768_keygen_seed_test.json", func(v mlkemTest) error {
		ek, err := hybridSide(unhex(v.Seed)).writeE1(nil)
		if err == nil && !bytes.Equal(ek, unhex(v.Ek)) {
			err = errors.New("another encapsulation key")
		}
		return err
	})
}

// Both tokens of the responder: e1 read, which refuses keys that are not reduced, and ekem1.
func TestWycheproofMLKEMEncapsulate(t *testing.T) {
	eachMLKEM(t, "mlkem_768_encaps_test.json", func(v mlkemTest) error {
		hs := hybridSide(nil)
		hs.encapsulate = fixedEncapsulation(unhex(v.M))
		if err := whole(hs.readE1(unhex(v.Ek))); err != nil {
			return err
		}
		c, err := hs.writeEKEM1(nil)
		if err != nil {
			return err
		}
		if !bytes.Equal(c, unhex(v.C)) {
			t.Errorf("test %d: another ciphertext", v.TcID)
		}
		return sharedSecret(hs, v.K)
	})
}

package noise

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

// Suite is a Noise protocol: a handshake pattern and the algorithms it runs
// with. Values are comparable. The zero Suite is none and cannot be used.
type Suite struct {
	pattern *pattern
	cipher  *cipherFunc
	hash    *hashFunc
}

// cipherFunc is a cipher of Noise §12.
type cipherFunc struct {
	name  string
	new   func(key []byte) (cipher.AEAD, error)
	order binary.ByteOrder // of the counter in the last 8 bytes of the nonce
}

// hashFunc is a hash of Noise §12.
type hashFunc struct {
	name string
	new  func() hash.Hash
	macs sync.Pool // of *mac that nobody uses
}

var cipherFuncs = []*cipherFunc{
	{"AESGCM", newAESGCM, binary.BigEndian},                   // Noise §12.4
	{"ChaChaPoly", chacha20poly1305.New, binary.LittleEndian}, // Noise §12.3
}

var hashFuncs = []*hashFunc{
	{name: "SHA256", new: sha256.New},  // Noise §12.5
	{name: "SHA512", new: sha512.New},  // Noise §12.6
	{name: "BLAKE2s", new: newBLAKE2s}, // Noise §12.7
	{name: "BLAKE2b", new: newBLAKE2b}, // Noise §12.8
}

// Suites returns all suites there are, always in the same order: hybrid ones
// first, AESGCM before ChaChaPoly, SHA256 before the other hashes.
func Suites() []Suite {
	var all []Suite
	for _, p := range []*pattern{&patternXXhfs, &patternXX} {
		for _, c := range cipherFuncs {
			for _, h := range hashFuncs {
				all = append(all, Suite{p, c, h})
			}
		}
	}
	return all
}

// ParseSuite returns the suite that has this protocol name, such as
// "Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256". Names are matched exactly.
func ParseSuite(name string) (Suite, error) {
	for _, s := range Suites() {
		if s.String() == name {
			return s, nil
		}
	}
	return Suite{}, fmt.Errorf("noise: unknown suite %q", name)
}

// String returns the protocol name (Noise §8), or "" for the zero Suite.
func (s Suite) String() string {
	if s == (Suite{}) {
		return ""
	}
	return "Noise_" + s.pattern.name + "_" + s.pattern.dh + "_" + s.cipher.name + "_" + s.hash.name
}

// Hybrid reports whether ML-KEM-768 contributes to the keys.
func (s Suite) Hybrid() bool { return s.pattern == &patternXXhfs }

func newAESGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func newBLAKE2s() hash.Hash {
	h, err := blake2s.New256(nil)
	if err != nil {
		panic(err) // only a key can be wrong, and there is none
	}
	return h
}

func newBLAKE2b() hash.Hash {
	h, err := blake2b.New512(nil)
	if err != nil {
		panic(err) // only a key can be wrong, and there is none
	}
	return h
}

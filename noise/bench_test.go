package noise

import (
	"bytes"
	"crypto/mlkem"
	"testing"
)

func eachRecord(b *testing.B, f func(b *testing.B, fn *cipherFunc, size int)) {
	for _, fn := range cipherFuncs {
		for _, size := range []int{1 << 10, 16 << 10, MaxPlaintextSize} {
			b.Run(sub("%s/%d", fn.name, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				f(b, fn, size)
			})
		}
	}
}

func BenchmarkEncrypt(b *testing.B) {
	eachRecord(b, func(b *testing.B, fn *cipherFunc, size int) {
		c, _ := newTestCipherStates(b, fn)
		buf := make([]byte, size+TagSize)
		for b.Loop() {
			if _, err := c.EncryptWithAd(buf[:0], nil, buf[:size]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecrypt(b *testing.B) {
	eachRecord(b, func(b *testing.B, fn *cipherFunc, size int) {
		send, receive := newTestCipherStates(b, fn)
		c := must(send.EncryptWithAd(nil, nil, make([]byte, size)))
		buf := make([]byte, size)
		for b.Loop() {
			receive.n = 0
			if _, err := receive.DecryptWithAd(buf[:0], nil, c); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRekey(b *testing.B) {
	for _, fn := range cipherFuncs {
		b.Run(fn.name, func(b *testing.B) {
			c, _ := newTestCipherStates(b, fn)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Rekey(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCipherStates(b *testing.B) {
	for _, s := range Suites()[:8] {
		b.Run(s.cipher.name+"_"+s.hash.name, func(b *testing.B) {
			secret, _ := secrets(b, s)
			b.ReportAllocs()
			for n := uint64(0); b.Loop(); n++ {
				secret.CipherStates("flow", n)
			}
		})
	}
}

// One side of a handshake, from New to Split, against a peer that was recorded:
// with the same random bytes, the recorded answers fit each time.
func BenchmarkHandshake(b *testing.B) {
	for _, name := range []string{
		"Noise_XX_25519_AESGCM_SHA256", "Noise_XX_25519_ChaChaPoly_BLAKE2b",
		"Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256", "Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256",
	} {
		s := suite(b, name)
		random := bytes.Repeat([]byte{7}, 96)
		static := staticKey(bytes.Repeat([]byte{8}, KeySize))
		b.Run(
			name+"/initiator",
			func(b *testing.B) {
				config := Config{Suite: s, Initiator: true, Static: static}
				benchmarkInitiator(b, config, random)
			},
		)
		b.Run(
			name+"/responder",
			func(b *testing.B) { benchmarkResponder(b, Config{Suite: s, Static: static}, random) },
		)
	}
}

func benchmarkInitiator(b *testing.B, cfg Config, random []byte) {
	cfg.Random = bytes.NewReader(random)
	hs := must(NewHandshakeState(cfg))
	_, peer := newPair(cfg.Suite, newRand(b), nil)
	peer.readForged(must(hs.WriteMessage(nil, nil)))
	answer := must(peer.WriteMessage(nil, nil))
	b.ReportAllocs()
	for b.Loop() {
		cfg.Random = bytes.NewReader(random)
		hs := must(NewHandshakeState(cfg))
		must(hs.WriteMessage(nil, nil))
		hs.readForged(answer)
		must(hs.WriteMessage(nil, nil))
		if _, _, err := hs.Split(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkResponder(b *testing.B, cfg Config, random []byte) {
	m := make([]byte, 32)
	cfg.Random = bytes.NewReader(random)
	hs := must(NewHandshakeState(cfg))
	peer, _ := newPair(cfg.Suite, newRand(b), nil)
	first := must(peer.WriteMessage(nil, nil))
	hs.encapsulate = fixedEncapsulation(m)
	hs.readForged(first)
	var shared, ciphertext []byte
	if re1 := hs.re1; re1 != nil {
		shared, ciphertext = hs.encapsulate(re1)
	}
	peer.readForged(must(hs.WriteMessage(nil, nil)))
	third := must(peer.WriteMessage(nil, nil))
	b.ReportAllocs()
	for b.Loop() {
		cfg.Random = bytes.NewReader(random)
		hs := must(NewHandshakeState(cfg))
		hs.encapsulate = func(ek *mlkem.EncapsulationKey768) ([]byte, []byte) {
			ek.Encapsulate() // for its cost
			return bytes.Clone(shared), ciphertext
		}
		hs.readForged(first)
		must(hs.WriteMessage(nil, nil))
		hs.readForged(third)
		if _, _, err := hs.Split(); err != nil {
			b.Fatal(err)
		}
	}
}

package noise

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"
)

// newTestCipherStates returns two states with the same random key.
func newTestCipherStates(t testing.TB, fn *cipherFunc) (send, receive *CipherState) {
	key := randomBytes(newRand(t), KeySize)
	return newCipherState(fn, key), newCipherState(fn, key)
}

func eachCipher(t *testing.T, f func(t *testing.T, fn *cipherFunc)) {
	for _, fn := range cipherFuncs {
		t.Run(fn.name, func(t *testing.T) { f(t, fn) })
	}
}

// The nonce is four zero bytes and the counter, big-endian for AESGCM,
// little-endian for ChaChaPoly.
func TestNonceEncoding(t *testing.T) {
	want := map[string]string{
		"AESGCM":     "\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08",
		"ChaChaPoly": "\x00\x00\x00\x00\x08\x07\x06\x05\x04\x03\x02\x01",
	}
	eachCipher(t, func(t *testing.T, fn *cipherFunc) {
		c, _ := newTestCipherStates(t, fn)
		if got := c.nonceFor(0x0102030405060708); string(got) != want[fn.name] {
			t.Errorf("nonce %x, want %x", got, want[fn.name])
		}
	})
}

func TestNonceExhaustion(t *testing.T) {
	eachCipher(t, func(t *testing.T, fn *cipherFunc) {
		send, receive := newTestCipherStates(t, fn)
		send.n, receive.n = math.MaxUint64-1, math.MaxUint64-1
		sameKey(t, send, receive) // the last one
		for range 2 {
			if c, err := send.EncryptWithAd(nil, nil, []byte("x")); c != nil ||
				!errors.Is(err, ErrNonceExhausted) {
				t.Errorf("encrypt: %x, %v", c, err)
			}
			if p, err := receive.DecryptWithAd(nil, nil, make([]byte, 17)); p != nil ||
				!errors.Is(err, ErrNonceExhausted) {
				t.Errorf("decrypt: %x, %v", p, err)
			}
			// A new key does not give the nonces back.
			if err := errors.Join(send.Rekey(), receive.Rekey()); err != nil {
				t.Error(err)
			}
		}
	})
}

// A message that fails costs no nonce: the genuine one still decrypts after it.
func TestDecryptFailureKeepsNonce(t *testing.T) {
	eachCipher(t, func(t *testing.T, fn *cipherFunc) {
		send, receive := newTestCipherStates(t, fn)
		for i := range 3 {
			good := must(send.EncryptWithAd(nil, []byte("ad"), []byte("plaintext")))
			for j := range good {
				bad := bytes.Clone(good)
				bad[j] ^= 1 << (j % 8)
				if p, err := receive.DecryptWithAd(nil, []byte("ad"), bad); p != nil ||
					!errors.Is(err, ErrDecrypt) {
					t.Fatalf("byte %d changed: %q, %v", j, p, err)
				}
				if p, err := receive.DecryptWithAd(nil, []byte("ad"), good[:j]); p != nil ||
					!errors.Is(err, ErrDecrypt) {
					t.Fatalf("cut to %d: %q, %v", j, p, err)
				}
			}
			if p, err := receive.DecryptWithAd(nil, []byte("Ad"), good); p != nil ||
				!errors.Is(err, ErrDecrypt) {
				t.Fatalf("other associated data: %q, %v", p, err)
			}
			if p, err := receive.DecryptWithAd(nil, []byte("ad"), good); err != nil ||
				string(p) != "plaintext" {
				t.Fatalf("message %d: %q, %v", i, p, err)
			}
			if p, err := receive.DecryptWithAd(nil, []byte("ad"), good); p != nil ||
				!errors.Is(err, ErrDecrypt) {
				t.Fatalf("repeated: %q, %v", p, err)
			}
		}
	})
}

func TestOrder(t *testing.T) {
	eachCipher(t, func(t *testing.T, fn *cipherFunc) {
		send, receive := newTestCipherStates(t, fn)
		first := must(send.EncryptWithAd(nil, nil, []byte("1")))
		second := must(send.EncryptWithAd(nil, nil, []byte("2")))
		if _, err := receive.DecryptWithAd(nil, nil, second); !errors.Is(err, ErrDecrypt) {
			t.Errorf("gap: %v", err)
		}
		for i, c := range [][]byte{first, second} {
			if _, err := receive.DecryptWithAd(nil, nil, c); err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		}
	})
}

func TestMessageSize(t *testing.T) {
	eachCipher(t, func(t *testing.T, fn *cipherFunc) {
		send, receive := newTestCipherStates(t, fn)
		big := make([]byte, MaxMessageSize+1)
		if c, err := send.EncryptWithAd(nil, nil, big[:MaxPlaintextSize+1]); c != nil ||
			!errors.Is(err, ErrMessageTooLong) {
			t.Errorf("encrypt: %d bytes, %v", len(c), err)
		}
		if p, err := receive.DecryptWithAd(nil, nil, big); p != nil ||
			!errors.Is(err, ErrMessageTooLong) {
			t.Errorf("decrypt: %d bytes, %v", len(p), err)
		}
		c, err := send.EncryptWithAd(nil, nil, big[:MaxPlaintextSize])
		if err != nil || len(c) != MaxMessageSize {
			t.Fatalf("largest: %d bytes, %v", len(c), err)
		}
		if p, err := receive.DecryptWithAd(nil, nil, c); err != nil || len(p) != MaxPlaintextSize {
			t.Errorf("largest: %d bytes, %v", len(p), err)
		}
		empty := must(send.EncryptWithAd(nil, nil, nil))
		if len(empty) != send.Overhead() {
			t.Errorf("empty: %d bytes", len(empty))
		}
		if p, err := receive.DecryptWithAd(nil, nil, empty); err != nil || len(p) != 0 {
			t.Errorf("empty: %x, %v", p, err)
		}
	})
}

// dst is appended to, and may be the input's own memory.
func TestAppendAndInPlace(t *testing.T) {
	eachCipher(t, func(t *testing.T, fn *cipherFunc) {
		send, receive := newTestCipherStates(t, fn)
		c := must(send.EncryptWithAd([]byte("head"), nil, []byte("text")))
		if string(c[:4]) != "head" || len(c) != 4+4+TagSize {
			t.Fatalf("encrypt appended %x", c)
		}
		if p := must(receive.DecryptWithAd([]byte("head"), nil, c[4:])); string(p) != "headtext" {
			t.Fatalf("decrypt appended %q", p)
		}
		buf := append(make([]byte, 0, 4+TagSize), "text"...)
		c = must(send.EncryptWithAd(buf[:0], nil, buf))
		p := must(receive.DecryptWithAd(c[:0], nil, c))
		if string(p) != "text" || &p[0] != &buf[0] || &c[0] != &buf[0] {
			t.Fatalf("not in place: %q", p)
		}
	})
}

// Rekey against its definition in Noise §4.2, done by hand.
func TestRekey(t *testing.T) {
	eachCipher(t, func(t *testing.T, fn *cipherFunc) {
		key := randomBytes(newRand(t), KeySize)
		c := newCipherState(fn, key)
		must(c.EncryptWithAd(nil, nil, nil))
		if err := c.Rekey(); err != nil {
			t.Fatal(err)
		}
		if c.n != 1 {
			t.Fatalf("n = %d after Rekey, want 1", c.n)
		}
		nonce := make([]byte, 12)
		binary.BigEndian.PutUint64(nonce[4:], math.MaxUint64) // the same in either order
		next := newCipherState(fn, must(fn.new(key)).Seal(nil, nonce, make([]byte, 32), nil)[:32])
		next.n = 1
		sameKey(t, c, next)
		sameKey(t, c, next)
		old := newCipherState(fn, key)
		old.n = c.n
		x := must(c.EncryptWithAd(nil, nil, nil))
		if _, err := old.DecryptWithAd(nil, nil, x); !errors.Is(err, ErrDecrypt) {
			t.Errorf("the old key still works: %v", err)
		}
	})
}

// A state without a key never passes plaintext through.
func TestZeroCipherState(t *testing.T) {
	var c CipherState
	if out, err := c.EncryptWithAd(nil, nil, []byte("x")); out != nil || err == nil {
		t.Errorf("encrypt: %x, %v", out, err)
	}
	if out, err := c.DecryptWithAd(nil, nil, make([]byte, 20)); out != nil || err == nil {
		t.Errorf("decrypt: %x, %v", out, err)
	}
	if err := c.Rekey(); err == nil {
		t.Error("rekey succeeded")
	}
}

func TestCipherStateAllocations(t *testing.T) {
	eachCipher(t, func(t *testing.T, fn *cipherFunc) {
		send, receive := newTestCipherStates(t, fn)
		buf := make([]byte, 1024+TagSize)
		ad := make([]byte, 2)
		n := testing.AllocsPerRun(100, func() {
			c, err := send.EncryptWithAd(buf[:0], ad, buf[:1024])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := receive.DecryptWithAd(c[:0], ad, c); err != nil {
				t.Fatal(err)
			}
			if _, err := receive.DecryptWithAd(buf[:0], ad, c); err != ErrDecrypt {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%v allocations, want 0", n)
		}
	})
}

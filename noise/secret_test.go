package noise

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"errors"
	"sync"
	"testing"
)

// finished returns both sides of a handshake that is done.
func finished(t testing.TB, s Suite) (initiator, responder *HandshakeState) {
	t.Helper()
	last := record(t, s, newRand(t), 0, 0, 0)[2]
	if _, _, err := last.reader.ReadMessage(last.message); err != nil {
		t.Fatal(err)
	}
	return last.writer, last.reader
}

func secrets(t testing.TB, s Suite) (initiator, responder *Secret) {
	t.Helper()
	a, b := finished(t, s)
	initiator, err1 := a.Secret("test")
	responder, err2 := b.Secret("test")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return initiator, responder
}

// Secret and what comes from it, against the formulas of their comments, in
// terms of crypto/hkdf.
func TestSecretDerivation(t *testing.T) {
	for _, s := range Suites() {
		t.Run(s.String(), func(t *testing.T) {
			hs, _ := finished(t, s)
			size := len(hs.ss.h)
			derive := func(ck, ikm []byte, n int) []byte {
				return must(hkdf.Key(s.hash.new, ikm, ck, "", n*size))
			}
			mac := func(key []byte, data string) []byte {
				m := hmac.New(s.hash.new, key)
				m.Write([]byte(data))
				return m.Sum(nil)[:16]
			}
			secret := must(hs.Secret("label"))
			key := derive(hs.ss.ck, append([]byte("label"), hs.ss.h...), 1)
			if !bytes.Equal(secret.key, key) {
				t.Errorf("secret %x, want %x", secret.key, key)
			}
			if id := secret.ID("a"); !bytes.Equal(id[:], mac(key, "ida")) {
				t.Errorf("ID is %x", id)
			}
			keys := derive(key, []byte("keysa\x01\x02\x03\x04\x05\x06\x07\x08"), 2)
			i, r := secret.CipherStates("a", 0x0102030405060708)
			sameKey(t, i, newCipherState(s.cipher, keys[:KeySize]))
			sameKey(t, r, newCipherState(s.cipher, keys[size:size+KeySize]))
		})
	}
}

// Both sides derive the same, and nothing is derived twice.
func TestSecretAgreement(t *testing.T) {
	a, b := secrets(t, Suites()[0])
	seen := map[[16]byte]string{}
	add := func(what string, x, y [16]byte) {
		if x != y {
			t.Errorf("%s differs: %x, %x", what, x, y)
		}
		if other, ok := seen[x]; ok {
			t.Errorf("%s and %s are the same", what, other)
		}
		seen[x] = what
	}
	for _, label := range []string{"", "x", "xy", "x\x00\x00\x00\x00\x00\x00\x00\x01"} {
		add(sub("id %q", label), a.ID(label), b.ID(label))
		for _, n := range []uint64{0, 1, 256, 1 << 63} {
			ai, ar := a.CipherStates(label, n)
			bi, br := b.CipherStates(label, n)
			add(sub("initiator %q %d", label, n), tag(ai), tag(bi))
			add(sub("responder %q %d", label, n), tag(ar), tag(br))
		}
	}
}

// tag tells keys apart.
func tag(c *CipherState) [16]byte {
	return [16]byte(must(c.EncryptWithAd(nil, nil, nil)))
}

// Secrets with other labels, secrets of other handshakes and the keys of Split
// are independent of each other.
func TestSecretIndependence(t *testing.T) {
	hs, _ := finished(t, Suites()[0])
	other, _ := finished(t, Suites()[0])
	first := must(hs.Secret("a"))
	send, receive, err := hs.Split()
	if err != nil {
		t.Fatal(err)
	}
	if again := must(hs.Secret("a")); again.ID("x") != first.ID("x") {
		t.Error("Secret after Split is another one")
	}
	seen := map[[16]byte]bool{tag(send): true, tag(receive): true}
	for _, s := range []*Secret{
		first, must(hs.Secret("b")), must(hs.Secret("")), must(other.Secret("a")),
	} {
		i, r := s.CipherStates("", 0)
		seen[tag(i)], seen[tag(r)], seen[s.ID("")] = true, true, true
	}
	if len(seen) != 2+4*3 {
		t.Errorf("%d different values, want %d", len(seen), 2+4*3)
	}
}

func TestSecretForget(t *testing.T) {
	s, peer := secrets(t, Suites()[0])
	c, _ := s.CipherStates("", 1)
	key := s.key
	s.Forget()
	s.Forget()
	if !bytes.Equal(key, make([]byte, len(key))) {
		t.Error("the key is still in memory")
	}
	for name, use := range map[string]func(){
		"ID":           func() { s.ID("") },
		"CipherStates": func() { s.CipherStates("", 0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of a forgotten secret did not panic", name)
				}
			}()
			use()
		}()
	}
	p, _ := peer.CipherStates("", 1)
	sameKey(t, c, p)
}

// For the race detector.
func TestSecretConcurrency(t *testing.T) {
	s, _ := secrets(t, Suites()[0])
	want := s.ID("")
	var wg sync.WaitGroup
	for n := range uint64(8) {
		wg.Go(func() {
			s.CipherStates("", n)
			if s.ID("") != want {
				t.Error("another ID")
			}
		})
	}
	wg.Wait()
	s.Forget()
}

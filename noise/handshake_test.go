package noise

import (
	"bytes"
	"crypto/ecdh"
	"errors"
	"io"
	"strings"
	"testing"
)

// Each pattern once: what these tests look at does not depend on cipher and hash.
func eachPattern(t *testing.T, f func(t *testing.T, s Suite)) {
	for _, name := range []string{
		"Noise_XX_25519_AESGCM_BLAKE2s", "Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, suite(t, name))
		})
	}
}

// All suites, and all that a handshake gives, from both sides.
func TestHandshake(t *testing.T) {
	for _, s := range Suites() {
		t.Run(s.String(), func(t *testing.T) {
			r := newRand(t)
			a, b := newPair(s, r, []byte("prologue"))
			aKey, bKey := a.s.PublicKey(), b.s.PublicKey()
			w, rd := a, b
			for i := range 3 {
				if a.Done() || b.Done() || a.HandshakeHash() != nil {
					t.Fatalf("done before message %d", i+1)
				}
				p := randomBytes(r, 100*i)
				var signed []byte
				m, err := w.WriteMessage([]byte("head"), func(h []byte) ([]byte, error) {
					signed = bytes.Clone(h)
					clear(h) // ours to spoil
					return p, nil
				})
				if err != nil || string(m[:4]) != "head" {
					t.Fatalf("message %d: %v", i+1, err)
				}
				before := bytes.Clone(m)
				got, h, err := rd.ReadMessage(m[4:])
				if err != nil || !bytes.Equal(got, p) || !bytes.Equal(h, signed) {
					t.Fatalf("message %d: payload %x, hash %x, %v", i+1, got, h, err)
				}
				clear(got)
				clear(h)
				if !bytes.Equal(m, before) {
					t.Fatalf("message %d was modified", i+1)
				}
				w, rd = rd, w
			}
			if !a.Done() || !b.Done() {
				t.Fatal("not done")
			}
			if !a.PeerStatic().Equal(bKey) || !b.PeerStatic().Equal(aKey) {
				t.Error("wrong static keys")
			}
			if len(a.HandshakeHash()) < 32 || !bytes.Equal(a.HandshakeHash(), b.HandshakeHash()) {
				t.Error("handshake hashes differ")
			}
			checkSplit(t, a, b)
		})
	}
}

func checkSplit(t *testing.T, a, b *HandshakeState) {
	t.Helper()
	aSend, aReceive, err1 := a.Split()
	bSend, bReceive, err2 := b.Split()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	sameKey(t, aSend, bReceive)
	sameKey(t, bSend, aReceive)
	c := must(aSend.EncryptWithAd(nil, nil, nil))
	if _, err := aReceive.DecryptWithAd(nil, nil, c); !errors.Is(err, ErrDecrypt) {
		t.Errorf("a side reads what it sent itself: %v", err)
	}
}

// The sizes that docs/PROTOCOL.md may promise.
func TestHandshakeSizes(t *testing.T) {
	want := map[bool][]int{false: {32, 96, 64}, true: {1216, 1200, 64}}
	for _, s := range Suites() {
		for i, step := range record(t, s, newRand(t), 0, 0, 0) {
			if len(step.message) != want[s.Hybrid()][i] {
				t.Errorf("%s: message %d has %d bytes, want %d", s, i+1, len(step.message), want[s.Hybrid()][i])
			}
		}
	}
}

// A bit that changes on its way, wherever it is, ends the handshake. Every byte
// is tried, but under the race detector, which makes it ten times slower and has
// nothing to find here, only some of the long messages'.
func TestFlippedBits(t *testing.T) {
	eachPattern(t, func(t *testing.T, s Suite) {
		for i, step := range record(t, s, newRand(t), 5, 5, 5) {
			stride := 1
			if raceEnabled && len(step.message) > 1000 {
				stride = 7
			}
			for j := 0; j < len(step.message); j += stride {
				bad := bytes.Clone(step.message)
				bad[j] ^= 1 << (j % 8)
				if step.deliver(bad) == nil {
					t.Fatalf("message %d, byte %d: handshake succeeded", i+1, j)
				}
			}
			// The bit that X25519 ignores is hashed like any other.
			if i < 2 {
				bad := bytes.Clone(step.message)
				bad[KeySize-1] ^= 0x80
				if step.deliver(bad) == nil {
					t.Fatalf("message %d: top bit of e ignored", i+1)
				}
			}
			if err := step.deliver(step.message); err != nil {
				t.Fatalf("message %d unchanged: %v", i+1, err)
			}
		}
	})
}

// A message that is cut or has something added ends the handshake. When tokens
// or tags do not fit, it ends at once.
func TestWrongLengths(t *testing.T) {
	eachPattern(t, func(t *testing.T, s Suite) {
		for i, step := range record(t, s, newRand(t), 9, 9, 9) {
			for n := range step.message {
				err := step.deliver(step.message[:n])
				if err == nil {
					t.Fatalf("message %d cut to %d bytes: handshake succeeded", i+1, n)
				}
				rest := n - (len(step.message) - 9 - TagSize) // of the encrypted payload
				if i > 0 && rest >= 0 && rest < TagSize && !errors.Is(err, ErrMessageTooShort) {
					t.Fatalf("message %d cut to %d bytes: %v", i+1, n, err)
				}
				if n < len(step.message)-9 && !errors.Is(err, ErrMessageTooShort) &&
					!errors.Is(err, ErrDecrypt) {
					t.Fatalf("message %d cut to %d bytes: %v", i+1, n, err)
				}
			}
			if err := step.deliver(nil); !errors.Is(err, ErrMessageTooShort) {
				t.Errorf("message %d empty: %v", i+1, err)
			}
			for _, more := range []int{1, TagSize, 1000} {
				if step.deliver(append(bytes.Clone(step.message), make([]byte, more)...)) == nil {
					t.Errorf("message %d with %d bytes more: handshake succeeded", i+1, more)
				}
			}
			if err := step.deliver(make([]byte, MaxMessageSize+1)); !errors.Is(err, ErrMessageTooLong) {
				t.Errorf("message %d of %d bytes: %v", i+1, MaxMessageSize+1, err)
			}
		}
	})
}

func TestLargestPayload(t *testing.T) {
	eachPattern(t, func(t *testing.T, s Suite) {
		sizes := []int{0, 0, 0}
		empty := record(t, s, newRand(t), 0, 0, 0)
		for i := range sizes {
			sizes[i] = MaxMessageSize - len(empty[i].message)
		}
		for i, step := range record(t, s, newRand(t), sizes...) {
			if len(step.message) != MaxMessageSize {
				t.Errorf("message %d has %d bytes", i+1, len(step.message))
			}
		}
		for i := range sizes {
			a, b := newPair(s, newRand(t), nil)
			for j := range i {
				if _, _, err := b.ReadMessage(must(a.WriteMessage(nil, nil))); err != nil {
					t.Fatalf("message %d: %v", j+1, err)
				}
				a, b = b, a
			}
			m, err := clone(a).WriteMessage([]byte("head"), fixed(make([]byte, sizes[i])))
			if err != nil || len(m) != MaxMessageSize+4 {
				t.Errorf("message %d behind others: %d bytes, %v", i+1, len(m), err)
			}
			m, err = a.WriteMessage([]byte("head"), fixed(make([]byte, sizes[i]+1)))
			if m != nil || !errors.Is(err, ErrMessageTooLong) {
				t.Errorf("message %d: %d bytes, %v", i+1, len(m), err)
			}
		}
	})
}

func TestPrologueDiffers(t *testing.T) {
	eachPattern(t, func(t *testing.T, s Suite) {
		for _, prologue := range []string{"", "prologu", "Prologue", "prologue\x00"} {
			r := newRand(t)
			a, _ := newPair(s, r, []byte("prologue"))
			_, b := newPair(s, r, []byte(prologue))
			err := step{writer: a, reader: b}.deliver(must(a.WriteMessage(nil, nil)))
			if !errors.Is(err, ErrDecrypt) {
				t.Errorf("prologue %q: %v", prologue, err)
			}
		}
	})
}

// Suites that differ in one word alone do not understand each other.
func TestSuiteDiffers(t *testing.T) {
	r := newRand(t)
	a, _ := newPair(suite(t, "Noise_XX_25519_AESGCM_SHA256"), r, nil)
	first := must(a.WriteMessage(nil, nil))
	for _, s := range Suites() {
		_, b := newPair(s, r, nil)
		err := step{writer: a, reader: b}.deliver(first)
		if same := s.String() == "Noise_XX_25519_AESGCM_SHA256"; (err == nil) != same {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// Messages of one handshake are of no use in another, nor against their writer.
func TestReplay(t *testing.T) {
	eachPattern(t, func(t *testing.T, s Suite) {
		old, steps := record(t, s, newRand(t), 1, 1, 1), record(t, s, newRand(t), 1, 1, 1)
		for i := range steps {
			if steps[i].deliver(old[i].message) == nil {
				t.Errorf("message %d of another handshake: handshake succeeded", i+1)
			}
			for j := range steps {
				if i != j && steps[i].deliver(steps[j].message) == nil {
					t.Errorf("message %d in the place of %d: handshake succeeded", j+1, i+1)
				}
			}
		}
	})
}

// The API used out of order: an error, and it is permanent.
func TestOutOfOrder(t *testing.T) {
	s := suite(t, "Noise_XX_25519_AESGCM_SHA256")
	steps := record(t, s, newRand(t), 0, 0, 0)
	done := func() *HandshakeState { return clone(finishedFrom(steps)) }
	write := func(hs *HandshakeState) error { _, err := hs.WriteMessage(nil, nil); return err }
	read := func(hs *HandshakeState) error {
		_, _, err := hs.ReadMessage(steps[0].message)
		return err
	}
	split := func(hs *HandshakeState) error { _, _, err := hs.Split(); return err }
	secret := func(hs *HandshakeState) error { _, err := hs.Secret(""); return err }
	for _, c := range []struct {
		name string
		hs   *HandshakeState
		do   func(*HandshakeState) error
		want error
	}{
		{"responder writes first", clone(steps[0].reader), write, errTurn},
		{"initiator writes twice", clone(steps[0].writer), write, errTurn},
		{"responder reads twice", clone(steps[1].writer), func(hs *HandshakeState) error {
			hs.next = 1
			return read(hs)
		}, errTurn},
		{"initiator writes after done", clone(steps[2].writer), write, errDone},
		{"initiator reads after done", clone(steps[2].writer), read, errDone},
		{"responder reads after done", done(), read, errDone},
	} {
		err := c.do(c.hs)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		checkDead(t, c.name, c.hs, err)
	}
	for name, do := range map[string]func(*HandshakeState) error{"split": split, "secret": secret} {
		hs := clone(steps[2].reader)
		if err := do(hs); !errors.Is(err, errNotDone) {
			t.Errorf("%s too early: %v", name, err)
		}
		// Asking too early does no harm.
		if _, _, err := hs.ReadMessage(steps[2].message); err != nil || do(hs) != nil {
			t.Errorf("%s after done: %v", name, err)
		}
	}
	hs := done()
	if err := split(hs); err != nil {
		t.Error(err)
	}
	if err := split(hs); !errors.Is(err, errSplit) {
		t.Errorf("second split: %v", err)
	}
}

func finishedFrom(steps []step) *HandshakeState {
	hs := clone(steps[2].reader)
	if _, _, err := hs.ReadMessage(steps[2].message); err != nil {
		panic(err)
	}
	return hs
}

// checkDead checks that hs gives nothing but want.
func checkDead(t *testing.T, name string, hs *HandshakeState, want error) {
	t.Helper()
	_, err1 := hs.WriteMessage(nil, nil)
	_, _, err2 := hs.ReadMessage(make([]byte, 2000))
	_, _, err3 := hs.Split()
	_, err4 := hs.Secret("")
	for _, err := range []error{err1, err2, err3, err4} {
		if err != want {
			t.Errorf("%s: later error %v, want %v", name, err, want)
		}
	}
	if hs.Done() || hs.HandshakeHash() != nil || hs.PeerStatic() != nil {
		t.Errorf("%s: not dead", name)
	}
	if hs.s != nil || hs.e != nil || hs.e1 != nil || hs.ss.ck != nil || hs.ss.cs.hasKey() {
		t.Errorf("%s: keys were kept", name)
	}
}

// After a message that failed, the genuine one comes too late.
func TestFirstErrorIsPermanent(t *testing.T) {
	eachPattern(t, func(t *testing.T, s Suite) {
		for i, step := range record(t, s, newRand(t), 0, 0, 0) {
			hs := clone(step.reader)
			ck := hs.ss.ck
			_, _, want := hs.ReadMessage(step.message[:20])
			if want == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(want.Error(), sub("message %d", i+1)) {
				t.Errorf("error does not name message %d: %v", i+1, want)
			}
			if _, _, err := hs.ReadMessage(step.message); err != want {
				t.Errorf("message %d: %v, want %v", i+1, err, want)
			}
			if !bytes.Equal(ck, make([]byte, len(ck))) {
				t.Error("chaining key was not zeroed")
			}
			checkDead(t, sub("message %d", i+1), hs, want)
		}
	})
}

func TestForget(t *testing.T) {
	hs, peer := finished(t, Suites()[0])
	secret := must(hs.Secret(""))
	send, receive, err := hs.Split()
	if err != nil {
		t.Fatal(err)
	}
	hs.Forget()
	hs.Forget()
	checkDead(t, "forgotten", hs, errForgotten)
	if secret.ID("") != must(peer.Secret("")).ID("") {
		t.Error("secret was forgotten too")
	}
	peerSend, peerReceive, err := peer.Split()
	if err != nil {
		t.Fatal(err)
	}
	sameKey(t, send, peerReceive)
	sameKey(t, peerSend, receive)
}

func TestPayloadFunction(t *testing.T) {
	s := suite(t, "Noise_XX_25519_AESGCM_SHA256")
	hs, _ := newPair(s, newRand(t), nil)
	refused := errors.New("refused")
	m, err := hs.WriteMessage(nil, func([]byte) ([]byte, error) { return []byte("x"), refused })
	if m != nil || !errors.Is(err, refused) {
		t.Errorf("payload's error: %x, %v", m, err)
	}
	checkDead(t, "payload's error", hs, err)

	hs, _ = newPair(s, newRand(t), nil)
	m, err = hs.WriteMessage(nil, func([]byte) ([]byte, error) {
		_, err := hs.WriteMessage(nil, nil)
		return nil, errors.Join(err, nil)
	})
	if m != nil || !errors.Is(err, errTurn) {
		t.Errorf("message within a message: %x, %v", m, err)
	}
	hs, _ = newPair(s, newRand(t), nil)
	m, err = hs.WriteMessage(nil, func([]byte) ([]byte, error) {
		hs.Forget()
		return nil, nil
	})
	if m != nil || !errors.Is(err, errForgotten) {
		t.Errorf("forgotten within a message: %x, %v", m, err)
	}
}

func TestBadConfig(t *testing.T) {
	good := staticKey(make([]byte, KeySize))
	other := must(ecdh.P256().GenerateKey(nil))
	for name, cfg := range map[string]Config{
		"no suite":        {Static: good},
		"no static key":   {Suite: Suites()[0]},
		"another curve's": {Suite: Suites()[0], Static: other},
	} {
		if hs, err := NewHandshakeState(cfg); hs != nil || err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Too little randomness is an error, never a key that is part zero.
func TestRandomFails(t *testing.T) {
	for _, c := range []struct {
		suite string
		bytes int
	}{{"Noise_XX_25519_AESGCM_SHA256", 31}, {"Noise_XXhfs_25519+MLKEM768_AESGCM_SHA256", 95}} {
		hs := must(NewHandshakeState(Config{
			Suite: suite(t, c.suite), Initiator: true,
			Static: staticKey(make([]byte, KeySize)), Random: bytes.NewReader(make([]byte, c.bytes)),
		}))
		m, err := hs.WriteMessage(nil, nil)
		if m != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %x, %v", c.suite, m, err)
		}
		checkDead(t, c.suite, hs, err)
	}
}

// Without Random, keys come from the system and differ.
func TestSystemRandom(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		hs := must(
			NewHandshakeState(
				Config{Suite: Suites()[0], Initiator: true, Static: staticKey(make([]byte, KeySize))},
			),
		)
		m := must(hs.WriteMessage(nil, nil))
		seen[string(m[:KeySize])], seen[string(m[KeySize:])] = true, true
	}
	if len(seen) != 6 {
		t.Errorf("%d different keys, want 6", len(seen))
	}
}

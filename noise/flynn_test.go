package noise

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	flynn "github.com/flynn/noise"
)

// peer is a side of a handshake, ours or flynn's.
type peer interface {
	write(payload []byte) ([]byte, error)
	read(message []byte) ([]byte, error)
	hash() []byte
	peerStatic() []byte
	split() (send, receive transport)
}

// transport is a cipher state, ours or flynn's.
type transport interface {
	encrypt(ad, plaintext []byte) ([]byte, error)
	decrypt(ad, ciphertext []byte) ([]byte, error)
	rekey()
}

type ourPeer struct{ *HandshakeState }

func (p ourPeer) write(
	payload []byte,
) ([]byte, error) {
	return p.WriteMessage(nil, fixed(payload))
}
func (p ourPeer) hash() []byte       { return p.HandshakeHash() }
func (p ourPeer) peerStatic() []byte { return p.PeerStatic().Bytes() }
func (p ourPeer) read(message []byte) ([]byte, error) {
	payload, _, err := p.ReadMessage(message)
	return payload, err
}

func (p ourPeer) split() (send, receive transport) {
	s, r, err := p.Split()
	if err != nil {
		panic(err)
	}
	return ourTransport{s}, ourTransport{r}
}

type ourTransport struct{ *CipherState }

func (o ourTransport) encrypt(ad, p []byte) ([]byte, error) { return o.EncryptWithAd(nil, ad, p) }
func (o ourTransport) decrypt(ad, c []byte) ([]byte, error) { return o.DecryptWithAd(nil, ad, c) }
func (o ourTransport) rekey() {
	if err := o.Rekey(); err != nil {
		panic(err)
	}
}

type flynnPeer struct {
	*flynn.HandshakeState
	initiator bool
	cs1, cs2  *flynn.CipherState
}

func (p *flynnPeer) write(payload []byte) (m []byte, err error) {
	m, p.cs1, p.cs2, err = p.WriteMessage(nil, payload)
	return m, err
}

func (p *flynnPeer) read(message []byte) (payload []byte, err error) {
	payload, p.cs1, p.cs2, err = p.ReadMessage(nil, message)
	return payload, err
}
func (p *flynnPeer) hash() []byte       { return p.ChannelBinding() }
func (p *flynnPeer) peerStatic() []byte { return p.PeerStatic() }
func (p *flynnPeer) split() (send, receive transport) {
	if p.initiator {
		return flynnTransport{p.cs1}, flynnTransport{p.cs2}
	}
	return flynnTransport{p.cs2}, flynnTransport{p.cs1}
}

type flynnTransport struct{ *flynn.CipherState }

func (f flynnTransport) encrypt(ad, p []byte) ([]byte, error) { return f.Encrypt(nil, ad, p) }
func (f flynnTransport) decrypt(ad, c []byte) ([]byte, error) { return f.Decrypt(nil, ad, c) }
func (f flynnTransport) rekey()                               { f.Rekey() }

var (
	flynnCiphers = map[string]flynn.CipherFunc{
		"AESGCM":     flynn.CipherAESGCM,
		"ChaChaPoly": flynn.CipherChaChaPoly,
	}
	flynnHashes = map[string]flynn.HashFunc{
		"SHA256": flynn.HashSHA256, "SHA512": flynn.HashSHA512,
		"BLAKE2s": flynn.HashBLAKE2s, "BLAKE2b": flynn.HashBLAKE2b,
	}
)

func newFlynnPeer(s Suite, r *rand.ChaCha8, initiator bool, prologue []byte) peer {
	name := strings.Split(s.String(), "_")
	cs := flynn.NewCipherSuite(flynn.DH25519, flynnCiphers[name[3]], flynnHashes[name[4]])
	hs := must(flynn.NewHandshakeState(flynn.Config{
		CipherSuite: cs, Random: r, Pattern: flynn.HandshakeXX, Initiator: initiator,
		Prologue: prologue, StaticKeypair: must(cs.GenerateKeypair(r)),
	}))
	return &flynnPeer{HandshakeState: hs, initiator: initiator}
}

// Each suite that flynn/noise has too, in both roles, with payloads and
// transport messages that no vector has.
func TestFlynnLive(t *testing.T) {
	n := 0
	for _, s := range Suites() {
		if s.Hybrid() {
			continue
		}
		n++
		for _, initiator := range []bool{true, false} {
			t.Run(sub("%s/initiator=%t", s, initiator), func(t *testing.T) {
				r := newRand(t)
				for range 3 {
					playFlynn(t, s, r, initiator)
				}
			})
		}
	}
	if n != 8 {
		t.Errorf("%d suites, want 8", n)
	}
}

func playFlynn(t *testing.T, s Suite, r *rand.ChaCha8, initiator bool) {
	t.Helper()
	rnd := rand.New(r)
	prologue := randomBytes(r, rnd.IntN(200))
	ours, theirs := newPair(s, r, prologue)
	var a, b peer = ourPeer{ours}, newFlynnPeer(s, r, false, prologue)
	if !initiator {
		a, b = newFlynnPeer(s, r, true, prologue), ourPeer{theirs}
	}
	w, rd := a, b
	for i := range 3 {
		p := randomBytes(r, rnd.IntN(3000))
		m, err := w.write(p)
		if err != nil {
			t.Fatalf("message %d: %v", i+1, err)
		}
		if got, err := rd.read(m); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("message %d: read %x, %v; want %x", i+1, got, err, p)
		}
		w, rd = rd, w
	}
	if !bytes.Equal(a.hash(), b.hash()) || len(a.hash()) == 0 {
		t.Fatalf("handshake hashes %x and %x", a.hash(), b.hash())
	}
	if len(a.peerStatic()) != KeySize || bytes.Equal(a.peerStatic(), b.peerStatic()) {
		t.Fatal("wrong static keys")
	}
	aSend, aReceive := a.split()
	bSend, bReceive := b.split()
	for i := range 40 {
		from, to := aSend, bReceive
		if rnd.IntN(2) == 0 {
			from, to = bSend, aReceive
		}
		if rnd.IntN(4) == 0 {
			from.rekey()
			to.rekey()
		}
		ad, p := randomBytes(r, rnd.IntN(40)), randomBytes(r, rnd.IntN(2000))
		c, err := from.encrypt(ad, p)
		if err != nil {
			t.Fatalf("transport message %d: %v", i, err)
		}
		if got, err := to.decrypt(ad, c); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("transport message %d: %x, %v; want %x", i, got, err, p)
		}
	}
}

// The handshakes of a recording.

package docs_test

import (
	"bytes"
	"crypto/rand"
	"testing/cryptotest"

	"github.com/secureportal/sp/identity"
	"github.com/secureportal/sp/noise"
)

// readHandshake is a handshake that is being read, by the second implementation's side of it.
type readHandshake struct {
	handshakeSecrets
	state   *noise.HandshakeState
	renewal bool
	readies int // that the responder has said
	count   int // of messages
}

// hello begins a handshake.
func (l *readLink) hello(p piece) {
	suite := string(p.Bytes[2:])
	if p.Bytes[0] != 1 || int(p.Bytes[1]) != len(suite) {
		l.Errorf("the hello %x", p.Bytes)
	}
	l.shake([16]byte{})
	if suite != l.shaking.Suite {
		l.Errorf("the suite is %s, want %s", suite, l.shaking.Suite)
	}
}

// shake begins the link's next handshake.
func (l *readLink) shake(previous [16]byte) {
	l.Helper()
	if len(l.Handshakes) == 0 {
		l.Fatal("more handshakes than there are secrets of")
	}
	h := &readHandshake{handshakeSecrets: l.Handshakes[0], renewal: previous != [16]byte{}}
	l.Handshakes = l.Handshakes[1:]
	suite, err := noise.ParseSuite(h.Suite)
	check(l.T, err)
	random := bytes.Clone(h.Ephemeral)
	if h.Initiator {
		random = append(random, h.KEM...)
	}
	h.state, err = noise.NewHandshakeState(noise.Config{
		Suite: suite, Initiator: h.Initiator, Prologue: prologue(h.Suite, previous),
		Static: privateKey(h.Static), Random: bytes.NewReader(random),
	})
	check(l.T, err)
	if !l.keys[h.Peer] {
		l.Errorf("the peer %s has no key file", h.Peer)
	}
	l.shaking = h
}

// handshake reads a message of sp's, or makes one of the second implementation's again.
func (l *readLink) handshake(by string, message, said []byte) {
	l.Helper()
	h := l.shaking
	h.count++
	if by == bySecond {
		again, err := h.write(l.reading, said)
		check(l.T, err)
		if !bytes.Equal(again, message) {
			l.Errorf("handshake message %d is made differently", h.count)
		}
	} else {
		payload, hash, err := h.state.ReadMessage(message)
		check(l.T, err)
		if said != nil && !bytes.Equal(payload, said) {
			l.Errorf("handshake message %d says %x, want %x", h.count, payload, said)
		}
		h.proof(l.reading, payload, hash)
	}
	if h.state.Done() {
		l.done()
	}
}

// write makes the second implementation's next message.
func (h *readHandshake) write(r *reading, said []byte) ([]byte, error) {
	if h.count == 1 {
		return h.state.WriteMessage(nil, nil)
	}
	role, name := identity.Initiator, h.Name
	if !h.Initiator {
		role, name = identity.Responder, ""
		h.encapsulation(r)
	}
	prove := proving(r.people[h.Self], role, name, h.Survive)
	return h.state.WriteMessage(nil, func(hash []byte) ([]byte, error) {
		payload, err := prove(hash)
		if said != nil && !bytes.Equal(payload, said) {
			r.Errorf("handshake message %d proves with %x, want %x", h.count, payload, said)
		}
		return payload, err
	})
}

// encapsulation makes the next encapsulation the one that was recorded.
func (h *readHandshake) encapsulation(r *reading) {
	cryptotest.SetGlobalRandom(r.T, h.Random)
	drawn := make([]byte, len(h.KEM))
	_, _ = rand.Read(drawn)
	if !bytes.Equal(drawn, h.KEM) {
		r.Fatal("this version of Go draws other random bytes: the recordings have to be made anew")
	}
	cryptotest.SetGlobalRandom(r.T, h.Random)
}

// proof checks the payload of a message of sp's.
func (h *readHandshake) proof(r *reading, payload, hash []byte) {
	r.Helper()
	if h.count == 1 {
		if len(payload) > 0 {
			r.Errorf("message 1 says %x", payload)
		}
		return
	}
	role, want := identity.Responder, ""
	if !h.Initiator {
		role, want = identity.Initiator, h.Name
	}
	name, _, proof := parsePayload(payload)
	if name != want {
		r.Errorf("the name is %q, want %q", name, want)
	}
	claimed, err := identity.ParseProof(role, proof)
	check(r.T, err)
	peer, err := claimed.Verify(hash)
	check(r.T, err)
	if peer.Identifier() != h.Peer {
		r.Errorf("message %d is by %s, want %s", h.count, peer.Identifier(), h.Peer)
	}
}

// done takes the keys of the handshake: those of the responder's direction, in a renewal, only
// behind its first ready.
func (l *readLink) done() {
	secret, err := l.shaking.state.Secret("sp/1 session")
	check(l.T, err)
	s := &readSession{secret: secret, number: len(l.sessions), initiator: bySP, who: l.shaking.Peer}
	if l.shaking.Initiator {
		s.initiator, s.who = bySecond, l.shaking.Self
	}
	l.sessions[secret.ID("sp/1 session id")] = s
	l.session = s
	next := s.ciphers(0)
	if l.shaking.renewal {
		responder := other(s.initiator)
		next[responder] = l.control[responder]
	}
	l.control = next
}

// ciphers returns what each side of flow n encrypts with.
func (s *readSession) ciphers(n uint64) map[string]*noise.CipherState {
	initiator, responder := s.secret.CipherStates("sp/1 flow", n)
	return map[string]*noise.CipherState{s.initiator: initiator, other(s.initiator): responder}
}

func other(by string) string {
	if by == bySP {
		return bySecond
	}
	return bySP
}

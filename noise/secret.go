package noise

import (
	"encoding/binary"
	"sync"
)

// Secret is a symmetric key that both sides of a handshake have, from which
// others are derived. It cannot be taken out. All methods may be called by
// several goroutines at a time.
//
// What is derived depends on the kind of thing derived, the label and the
// number, and knowing one tells nothing about another: "id" is not the
// beginning of "keys", and n has a fixed size. With || for
// concatenation, n as 8 bytes big-endian, Noise's HKDF and HMAC, and the hash
// and cipher of the handshake:
//
//	ID(label)              = HMAC(secret, "id" || label)[:16]
//	CipherStates(label, n) = HKDF(secret, "keys" || label || n, 2)
type Secret struct {
	suite Suite

	mu  sync.RWMutex
	key []byte // nil when forgotten; guarded by mu
}

// ID returns a public name for the secret: the same on both sides, and of no
// help in finding the secret.
func (s *Secret) ID(label string) [16]byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.checkLocked()
	m := s.suite.hash.mac()
	id := m.sum(nil, s.key, []byte("id"), []byte(label))
	s.suite.hash.free(m)
	return [16]byte(id)
}

// CipherStates returns new cipher states for flow number n: one for what the
// initiator of the handshake sends, one for what its responder sends. Calling it
// again with the same arguments returns the same keys with their counters at
// zero, so a side must use each label and n once at most, or it will encrypt two
// messages with the same nonce.
func (s *Secret) CipherStates(label string, n uint64) (initiator, responder *CipherState) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.checkLocked()
	info := append([]byte("keys"), label...)
	info = binary.BigEndian.AppendUint64(info, n)
	return keyPair(s.suite.cipher, s.suite.hash, s.key, info)
}

// Forget zeroes the secret. What was derived from it goes on working. Any other
// method that is called later panics: a caller that forgets secrets while others
// use them must see to it that they have stopped.
func (s *Secret) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.key)
	s.key = nil
}

// checkLocked panics if the secret is forgotten.
func (s *Secret) checkLocked() {
	if s.key == nil {
		panic("noise: use of a forgotten secret")
	}
}

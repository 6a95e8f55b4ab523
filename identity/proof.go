package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// A proof on the wire, all numbers big-endian:
//
//	version (1) = 1 | history | count (1) | length (2) credential | … | signature (64)
//
// The signature is by the current key of the history, over
//
//	contextProof | role (1) | SHA-256 of the proof before the signature (32) | handshake hash
//
// so that it is good for one handshake, in one role, with these credentials.

// Role is the part a peer has in a handshake. It is signed: a proof made as one role is
// refused as the other, so none can be reflected.
type Role uint8

// The two roles.
const (
	Initiator Role = 1
	Responder Role = 2
)

// String returns "initiator" or "responder".
func (r Role) String() string {
	switch r {
	case Initiator:
		return "initiator"
	case Responder:
		return "responder"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// Peer is what a proof has shown: whose key it is, and the credentials that came with
// it. The credentials have been decoded and not verified; [Policy.Check] does that.
type Peer struct {
	History     *History
	Credentials []*Credential
}

// Identifier returns the peer's name.
func (p *Peer) Identifier() Identifier { return p.History.Identifier() }

// Prove returns an encoded proof that its maker holds the identity's current key and
// takes part, as role, in the handshake whose hash is given (32 to 64 bytes).
// credentials are encoded credentials, at most [MaxCredentials]; one that does not
// decode is an error here, so that its owner hears of it. The proof has at most
// [MaxProof] bytes.
func (id *Identity) Prove(role Role, handshakeHash []byte, credentials [][]byte) ([]byte, error) {
	if err := checkHandshake(role, handshakeHash); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	if len(credentials) > MaxCredentials {
		return nil, fmt.Errorf("prove: %d credentials, at most %d are allowed", len(credentials), MaxCredentials)
	}
	b := append([]byte{proofVersion}, id.history.raw...)
	b = append(b, byte(len(credentials)))
	for i, c := range credentials {
		if _, err := ParseCredential(c); err != nil {
			return nil, fmt.Errorf("prove: credential %d: %w", i+1, err)
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(c)))
		b = append(b, c...)
	}
	if len(b)+signatureSize > MaxProof {
		return nil, fmt.Errorf("prove: history and credentials make %d bytes, at most %d are allowed: show fewer credentials", len(b)+signatureSize, MaxProof)
	}
	return append(b, sign(id.key(), contextProof, proofMessage(role, b, handshakeHash))...), nil
}

// VerifyProof verifies a proof that the far end, which has the given role, made for the
// handshake with the given hash. It says who the peer is, and nothing about trust. It
// costs one signature verification and two for each change of the peer's history.
func VerifyProof(role Role, handshakeHash, payload []byte) (*Peer, error) {
	peer, err := verifyProof(role, handshakeHash, payload)
	if err != nil {
		return nil, fmt.Errorf("identity proof: %w", err)
	}
	return peer, nil
}

func verifyProof(role Role, handshakeHash, payload []byte) (*Peer, error) {
	if err := checkHandshake(role, handshakeHash); err != nil {
		return nil, err
	}
	if len(payload) < minProof || len(payload) > MaxProof {
		return nil, fmt.Errorf("it has %d bytes, want %d to %d", len(payload), minProof, MaxProof)
	}
	payload = bytes.Clone(payload)
	said, signature := payload[:len(payload)-signatureSize], payload[len(payload)-signatureSize:]
	history, encoded, err := decodeProof(said)
	if err != nil {
		return nil, err
	}
	if !verify(history.current(), signature, contextProof, proofMessage(role, said, handshakeHash)) {
		return nil, errors.New("not signed by the identity's current key for this handshake")
	}
	if err := history.verify(); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	peer := &Peer{History: history}
	for i, b := range encoded {
		c, err := ParseCredential(b)
		if err != nil {
			return nil, fmt.Errorf("credential %d: %w", i+1, err)
		}
		peer.Credentials = append(peer.Credentials, c)
	}
	return peer, nil
}

// decodeProof takes a proof without its signature apart. Nothing in it is verified.
func decodeProof(said []byte) (history *History, credentials [][]byte, err error) {
	r := &reader{b: said}
	r.expect(proofVersion, "version")
	if r.err == nil {
		history = decodeHistory(r)
		if r.err != nil {
			return nil, nil, fmt.Errorf("history: %w", r.err)
		}
	}
	count := r.uint8()
	if count > MaxCredentials {
		r.fail("%d credentials, at most %d are allowed", count, MaxCredentials)
	}
	for i := 0; i < count && r.err == nil; i++ {
		n := r.uint16()
		if n > MaxCredential {
			r.fail("credential %d has %d bytes, at most %d are allowed", i+1, n, MaxCredential)
		}
		credentials = append(credentials, r.take(n))
	}
	return history, credentials, r.end()
}

func checkHandshake(role Role, hash []byte) error {
	if role != Initiator && role != Responder {
		return fmt.Errorf("unknown %s", role)
	}
	if len(hash) < MinHandshakeHash || len(hash) > MaxHandshakeHash {
		return fmt.Errorf("handshake hash has %d bytes, want %d to %d", len(hash), MinHandshakeHash, MaxHandshakeHash)
	}
	return nil
}

func proofMessage(role Role, said, handshakeHash []byte) []byte {
	sum := sha256.Sum256(said)
	m := append([]byte{byte(role)}, sum[:]...)
	return append(m, handshakeHash...)
}

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
//	version (1) = 1 | history | count (1) | entry | … | signature (64)
//	entry = kind (1) | length (2) | value        kind 1: a credential; kind 2: a ticket
//
// Credentials come first, at most MaxCredentials. A ticket comes last, at most one, and
// only an initiator, which has seen to whom it shows it, has one.
//
// The signature is by the current key of the history, over
//
//	contextProof | role (1) | SHA-256 of the proof before the signature (32) | handshake hash
//
// so that it is good for one handshake, in one role, with these entries.

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

// Peer is what a proof has shown: whose key it is, and what came with it. Credentials
// and ticket have been decoded and not verified: who decides about trust does that.
type Peer struct {
	History     *History
	Credentials []*Credential
	Ticket      *Ticket // nil: none
}

// Identifier returns the peer's name.
func (p *Peer) Identifier() Identifier { return p.History.Identifier() }

// Prove returns an encoded proof that its maker holds the identity's current key and
// takes part, as role, in the handshake whose hash is given (32 to 64 bytes).
// credentials are encoded credentials, at most [MaxCredentials]; one that does not
// decode is an error here, so that its owner hears of it. The proof has at most
// [MaxProof] bytes.
func (id *Identity) Prove(role Role, handshakeHash []byte, credentials [][]byte) ([]byte, error) {
	return id.ProveWith(role, handshakeHash, credentials, nil)
}

// ProveWith is Prove with an encoded ticket, which only an initiator may show, and only
// to the node that issued it: whoever else sees it first can redeem it. Nil shows none.
func (id *Identity) ProveWith(role Role, handshakeHash []byte, credentials [][]byte, ticket []byte) ([]byte, error) {
	if err := checkHandshake(role, handshakeHash); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	if len(credentials) > MaxCredentials {
		return nil, fmt.Errorf("prove: %d credentials, at most %d are allowed", len(credentials), MaxCredentials)
	}
	entries := len(credentials)
	if ticket != nil {
		entries++
	}
	b := append([]byte{proofVersion}, id.history.raw...)
	b = append(b, byte(entries))
	for i, c := range credentials {
		if _, err := ParseCredential(c); err != nil {
			return nil, fmt.Errorf("prove: credential %d: %w", i+1, err)
		}
		b = appendEntry(b, entryCredential, c)
	}
	if ticket != nil {
		if _, err := ParseTicket(ticket); err != nil {
			return nil, fmt.Errorf("prove: %w", err)
		}
		if role != Initiator {
			return nil, errors.New("prove: only an initiator shows a ticket")
		}
		b = appendEntry(b, entryTicket, ticket)
	}
	if len(b)+signatureSize > MaxProof {
		return nil, fmt.Errorf("prove: history and credentials make %d bytes, at most %d are allowed: show fewer credentials", len(b)+signatureSize, MaxProof)
	}
	return append(b, sign(id.key(), contextProof, proofMessage(role, b, handshakeHash))...), nil
}

func appendEntry(b []byte, kind byte, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, kind), uint16(len(value)))
	return append(b, value...)
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
	history, entries, err := decodeProof(role, said)
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
	if entries.ticket != nil {
		if peer.Ticket, err = ParseTicket(entries.ticket); err != nil {
			return nil, err
		}
	}
	for i, b := range entries.credentials {
		c, err := ParseCredential(b)
		if err != nil {
			return nil, fmt.Errorf("credential %d: %w", i+1, err)
		}
		peer.Credentials = append(peer.Credentials, c)
	}
	return peer, nil
}

// entries is what comes with a proof, encoded.
type entries struct {
	credentials [][]byte
	ticket      []byte
}

// decodeProof takes a proof without its signature apart. Nothing in it is verified.
func decodeProof(role Role, said []byte) (history *History, e entries, err error) {
	r := &reader{b: said}
	r.expect(proofVersion, "version")
	if r.err == nil {
		history = decodeHistory(r)
		if r.err != nil {
			return nil, e, fmt.Errorf("history: %w", r.err)
		}
	}
	count := r.uint8()
	if count > MaxCredentials+1 {
		r.fail("%d entries, at most %d are allowed", count, MaxCredentials+1)
	}
	for i := 0; i < count && r.err == nil; i++ {
		e.decode(r, i, role)
	}
	return history, e, r.end()
}

// decode reads entry i of a proof that its maker made as role.
func (e *entries) decode(r *reader, i int, role Role) {
	kind, n := r.uint8(), r.uint16()
	switch {
	case r.err != nil:
	case e.ticket != nil:
		r.fail("entry %d: nothing comes behind a ticket", i+1)
	case kind == entryCredential && len(e.credentials) == MaxCredentials:
		r.fail("more than %d credentials", MaxCredentials)
	case kind == entryCredential && n > MaxCredential:
		r.fail("credential %d has %d bytes, at most %d are allowed", i+1, n, MaxCredential)
	case kind == entryCredential:
		e.credentials = append(e.credentials, r.take(n))
	case kind == entryTicket && role != Initiator:
		r.fail("a ticket from a responder")
	case kind == entryTicket && n > MaxTicket:
		r.fail("ticket has %d bytes, at most %d are allowed", n, MaxTicket)
	case kind == entryTicket:
		e.ticket = r.take(n)
	default:
		r.fail("entry %d is of unknown kind %d", i+1, kind)
	}
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

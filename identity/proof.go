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
// only from an initiator, which knows by then to whom it presents it.
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

// Peer is what a proof has shown: who made it, and what came with it. Credentials and
// ticket have been decoded and not verified: whoever decides about trust does that.
type Peer struct {
	History     *History
	Credentials []*Credential
	Ticket      *Ticket // nil: none

	// Source says, for people, where the proof came from. Whoever has read it fills it in; it
	// decides nothing.
	Source string
}

// Identifier returns the peer's name.
func (p *Peer) Identifier() Identifier { return p.History.Identifier() }

// Prove returns an encoded proof that its maker holds the identity's current key and
// takes part, as role, in the handshake whose hash is given (32 to 64 bytes). The proof has
// at most [MaxProof] bytes.
//
// credentials are encoded credentials to present, at most [MaxCredentials]. ticket is an
// encoded ticket to redeem, or nil. Only an initiator presents one, and should do so only
// to the node that issued it: whoever sees it first can redeem it. What does not decode is
// an error here, so that its owner hears of it.
func (id *Identity) Prove(
	role Role, handshakeHash []byte, credentials [][]byte, ticket []byte,
) ([]byte, error) {
	if err := checkHandshake(role, handshakeHash); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	b := append([]byte{proofVersion}, id.history.raw...)
	b, err := appendEntries(b, role, credentials, ticket)
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	if n := len(b) + signatureSize; n > MaxProof {
		return nil, fmt.Errorf("prove: history and credentials make %d bytes, "+
			"at most %d are allowed: present fewer credentials", n, MaxProof)
	}
	message := proofMessage(role, b, handshakeHash)
	return append(b, sign(id.key(), contextProof, message)...), nil
}

// ProofSize returns how many bytes a proof has that presents h with some encoded credentials.
func ProofSize(h *History, credentials [][]byte) int {
	size := 1 + len(h.raw) + 1 + signatureSize
	for _, c := range credentials {
		size += entryOverhead + len(c)
	}
	return size
}

// appendEntries appends what comes with a proof.
func appendEntries(b []byte, role Role, credentials [][]byte, ticket []byte) ([]byte, error) {
	if len(credentials) > MaxCredentials {
		return nil, fmt.Errorf("%d credentials, at most %d are allowed",
			len(credentials), MaxCredentials)
	}
	count := len(credentials)
	if ticket != nil {
		count++
	}
	b = append(b, byte(count))
	for i, c := range credentials {
		if _, err := ParseCredential(c); err != nil {
			return nil, fmt.Errorf("credential %d: %w", i+1, err)
		}
		b = appendEntry(b, entryCredential, c)
	}
	if ticket == nil {
		return b, nil
	}
	if _, err := ParseTicket(ticket); err != nil {
		return nil, err
	}
	if role != Initiator {
		return nil, errors.New("only an initiator presents a ticket")
	}
	return appendEntry(b, entryTicket, ticket), nil
}

func appendEntry(b []byte, kind byte, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, kind), uint16(len(value)))
	return append(b, value...)
}

// Proof is a proof that has been decoded and not verified: what somebody claims.
type Proof struct {
	role      Role
	said      []byte // before the signature
	signature []byte
	peer      Peer
}

// Claim is what a proof says before any of its signatures has been verified. Its Identifier is the
// hash of a part of the proof, and needs no signature to be what it is.
type Claim struct {
	Identifier  Identifier
	Credentials []*Credential // not verified
	Ticket      *Ticket       // not verified; nil: none
}

// ParseProof decodes a proof that the far end, which has the given role, has made. It verifies no
// signature, so that whoever need not know more has no cost.
func ParseProof(role Role, payload []byte) (*Proof, error) {
	p, err := parseProof(role, payload)
	if err != nil {
		return nil, fmt.Errorf("identity proof: %w", err)
	}
	return p, nil
}

func parseProof(role Role, payload []byte) (*Proof, error) {
	if len(payload) < minProof || len(payload) > MaxProof {
		return nil, fmt.Errorf("it has %d bytes, want %d to %d", len(payload), minProof, MaxProof)
	}
	payload = bytes.Clone(payload)
	cut := len(payload) - signatureSize
	p := &Proof{role: role, said: payload[:cut], signature: payload[cut:]}
	history, entries, err := decodeProof(role, p.said)
	if err != nil {
		return nil, err
	}
	p.peer.History = history
	if entries.ticket != nil {
		if p.peer.Ticket, err = ParseTicket(entries.ticket); err != nil {
			return nil, err
		}
	}
	for i, b := range entries.credentials {
		c, err := ParseCredential(b)
		if err != nil {
			return nil, fmt.Errorf("credential %d: %w", i+1, err)
		}
		p.peer.Credentials = append(p.peer.Credentials, c)
	}
	return p, nil
}

// Claim returns what the proof says.
func (p *Proof) Claim() Claim {
	return Claim{p.peer.Identifier(), p.peer.Credentials, p.peer.Ticket}
}

// Verify verifies that the proof was made for the handshake with the given hash. It says who the
// peer is, and nothing about trust. It costs one signature verification and two for each change of
// the peer's history: the one first.
func (p *Proof) Verify(handshakeHash []byte) (*Peer, error) {
	if err := p.verify(handshakeHash); err != nil {
		return nil, fmt.Errorf("identity proof: %w", err)
	}
	peer := p.peer
	return &peer, nil
}

func (p *Proof) verify(handshakeHash []byte) error {
	if err := checkHandshake(p.role, handshakeHash); err != nil {
		return err
	}
	history := p.peer.History
	message := proofMessage(p.role, p.said, handshakeHash)
	if !verify(history.current(), p.signature, contextProof, message) {
		return errors.New("not signed by the identity's current key for this handshake")
	}
	if err := history.verify(); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// entries is what comes with a proof, encoded.
type entries struct {
	credentials [][]byte
	ticket      []byte
}

// decodeProof takes a proof without its signature apart. Nothing in it is verified.
func decodeProof(role Role, said []byte) (history *History, e entries, err error) {
	d := &decoder{b: said}
	d.expect(proofVersion, "version")
	if d.err == nil {
		history = decodeHistory(d)
		if d.err != nil {
			return nil, e, fmt.Errorf("history: %w", d.err)
		}
	}
	count := d.uint8()
	if count > MaxCredentials+1 {
		d.fail("%d entries, at most %d are allowed", count, MaxCredentials+1)
	}
	for i := 0; i < count && d.err == nil; i++ {
		e.decode(d, i, role)
	}
	return history, e, d.end()
}

// decode reads entry i of a proof that its maker made as role.
func (e *entries) decode(d *decoder, i int, role Role) {
	kind, n := d.uint8(), d.uint16()
	switch {
	case d.err != nil:
	case e.ticket != nil:
		d.fail("entry %d: nothing comes behind a ticket", i+1)
	case kind == entryCredential && len(e.credentials) == MaxCredentials:
		d.fail("more than %d credentials", MaxCredentials)
	case kind == entryCredential && n > MaxCredential:
		d.fail("credential %d has %d bytes, at most %d are allowed", i+1, n, MaxCredential)
	case kind == entryCredential:
		e.credentials = append(e.credentials, d.take(n))
	case kind == entryTicket && role != Initiator:
		d.fail("a ticket from a responder")
	case kind == entryTicket && n > MaxTicket:
		d.fail("ticket has %d bytes, at most %d are allowed", n, MaxTicket)
	case kind == entryTicket:
		e.ticket = d.take(n)
	default:
		d.fail("entry %d is of unknown kind %d", i+1, kind)
	}
}

func checkHandshake(role Role, hash []byte) error {
	if role != Initiator && role != Responder {
		return fmt.Errorf("unknown %s", role)
	}
	if len(hash) < MinHandshakeHash || len(hash) > MaxHandshakeHash {
		return fmt.Errorf("handshake hash has %d bytes, want %d to %d",
			len(hash), MinHandshakeHash, MaxHandshakeHash)
	}
	return nil
}

func proofMessage(role Role, said, handshakeHash []byte) []byte {
	sum := sha256.Sum256(said)
	m := append([]byte{byte(role)}, sum[:]...)
	return append(m, handshakeHash...)
}

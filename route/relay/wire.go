package relay

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"

	"github.com/secureportal/sp/route"
	"github.com/secureportal/sp/wire"
)

// What outlets and relays say to each other (docs/PROTOCOL.md, Relays). Integers are big-endian.
//
//	service           who asks, and how                   payload of the opening message
//	register          an outlet, inside a secure channel  claim
//	spare             an outlet, on a link of its own     proof
//	forward_to_NAME   an inlet                            the far service's: it is passed on
//
//	claim  = kind (1) | name (1–69)
//	key    = id (16) | secret (32)              drawn at random for each lease
//	proof  = id (16) | number (8) | MAC (16)    MAC = HMAC-SHA256(secret, id | number)[:16]
//	demand = 0 a standby link is missing
//	         1 the same identity has claimed the name anew: the last byte
//
//	kind   = 0 there will be standby links
//	         1 the mux is all there is
//
// register:
//
//	outlet ─ claim ───────────────────► relay
//	outlet ◄─────────── status OK, key ─ relay   the rest of the flow is a mux, the relay its opener
//	outlet ◄──────── first link: demands ─ relay
//	outlet ◄── each further link: an inlet's message, and then its bytes
//
// spare:
//
//	outlet ─ proof ───────────────────► relay
//	outlet ◄──────────────── status OK ─ relay   the link waits, for a minute or a year
//	outlet ◄────────── an inlet's message, and then its bytes
const (
	RegisterName = "register"
	StandbyName  = "spare" // what standby links are called on the wire

	kindStandby = 0
	kindMuxOnly = 1

	demandLink       = 0
	demandSuperseded = 1

	keyIDSize     = 16
	keySecretSize = 32
	keySize       = keyIDSize + keySecretSize

	proofMACSize = 16
	proofSize    = keyIDSize + 8 + proofMACSize

	kindSize = 1
)

// appendClaim appends the payload of a claim.
func appendClaim(dst []byte, kind byte, name string) []byte {
	return append(append(dst, kind), name...)
}

// parseClaim reads the payload of a claim. Its errors are for the outlet.
func parseClaim(b []byte) (kind byte, name string, err error) {
	if len(b) <= kindSize || b[0] > kindMuxOnly {
		return 0, "", route.Refuse(wire.BadMessage, "not a claim of a name")
	}
	name = string(b[kindSize:])
	if err := route.Forward(name).Validate(); err != nil {
		return 0, "", route.Refuse(wire.BadMessage,
			"a relay name has only letters, digits, dot, dash and underscore")
	}
	return b[0], name, nil
}

// keyID says which lease a standby link belongs to.
type keyID [keyIDSize]byte

// standbyKey lets an outlet prove that a link of its own belongs to a lease of its. Who knows it
// gets what the relay sends to that outlet, which is ciphertext.
type standbyKey struct {
	id     keyID
	secret [keySecretSize]byte
}

// newStandbyKey draws a key.
func newStandbyKey() (k standbyKey, err error) {
	var b [keySize]byte
	if _, err := io.ReadFull(rand.Reader, b[:]); err != nil {
		return standbyKey{}, err
	}
	return parseStandbyKey(b[:])
}

func (k *standbyKey) appendTo(dst []byte) []byte {
	return append(append(dst, k.id[:]...), k.secret[:]...)
}

var errKeySize = errors.New("a standby key of another size")

func parseStandbyKey(b []byte) (k standbyKey, err error) {
	if len(b) != keySize {
		return standbyKey{}, errKeySize
	}
	copy(k.id[:], b)
	copy(k.secret[:], b[keyIDSize:])
	return k, nil
}

// appendProof appends the payload with which a standby link says that it is one. A number is used
// once.
func (k *standbyKey) appendProof(dst []byte, number uint64) []byte {
	begin := len(dst)
	dst = append(dst, k.id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, number)
	mac := hmac.New(sha256.New, k.secret[:])
	mac.Write(dst[begin:])
	return append(dst, mac.Sum(nil)[:proofMACSize]...)
}

// parseProof reads what a proof says, which nobody has verified yet.
func parseProof(b []byte) (id keyID, number uint64, ok bool) {
	if len(b) != proofSize {
		return keyID{}, 0, false
	}
	return keyID(b[:keyIDSize]), binary.BigEndian.Uint64(b[keyIDSize:]), true
}

// verifies tells whether payload is the proof by this key that has that number.
func (k *standbyKey) verifies(payload []byte, number uint64) bool {
	return hmac.Equal(payload, k.appendProof(nil, number))
}

// parseDemands counts the standby links that b asks for, and tells whether it is the end. Bytes
// that mean nothing yet are left out.
func parseDemands(b []byte) (missing int, superseded bool) {
	return bytes.Count(b, []byte{demandLink}), bytes.IndexByte(b, demandSuperseded) >= 0
}

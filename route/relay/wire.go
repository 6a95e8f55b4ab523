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
//	claim  = kind (1) | instance (8) | name (1–69)
//	key    = id (16) | secret (32)              drawn at random for each lease
//	proof  = id (16) | number (8) | MAC (16)    MAC = HMAC-SHA256(secret, id | number)[:16]
//	demand = 0 a standby link is missing
//	         1 the same identity has claimed the name anew: the last byte
//	         2 the relay is one of a set, whose list of nodes is new to the outlet
//	         3 nobody uses the name: no standby link is to be kept until one is missing
//
//	kind   = 1 the mux is all there is: there will be no standby links
//	       + 2 another process of the identity that holds the name is to lose it
//	       + 4 what is reached by the name outlives its links
//	       + 8 it shares the name with other processes of the identity
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
	RegisterName = route.RegisterName
	StandbyName  = "spare" // what standby links are called on the wire

	kindMuxOnly  = 1
	kindReplace  = 2
	kindOutlives = 4
	kindShares   = 8

	demandLink       = 0
	demandSuperseded = 1
	demandNodes      = 2
	demandNone       = 3

	saysWell = 0 // what an outlet that shares its name says where it is told of demands
	saysSick = 1

	keyIDSize     = 16
	keySecretSize = 32
	keySize       = keyIDSize + keySecretSize

	proofMACSize = 16
	proofSize    = keyIDSize + 8 + proofMACSize

	kindSize     = 1
	instanceSize = route.InstanceSize
)

// Instance tells a process from others with the same identity, as long as it runs. It is drawn at
// random.
type Instance [instanceSize]byte

// NewInstance draws one.
func NewInstance() (i Instance, err error) {
	_, err = io.ReadFull(rand.Reader, i[:])
	return i, err
}

// claim is what an outlet asks for.
type claim struct {
	muxOnly  bool
	replace  bool // whoever holds the name as the same identity
	outlives bool // connections outlive their links
	shares   bool // with other processes of the same identity
	instance Instance
	name     string
}

// appendTo appends the payload of a claim.
func (c *claim) appendTo(dst []byte) []byte {
	var kind byte
	if c.muxOnly {
		kind |= kindMuxOnly
	}
	if c.replace {
		kind |= kindReplace
	}
	if c.outlives {
		kind |= kindOutlives
	}
	if c.shares {
		kind |= kindShares
	}
	return append(append(append(dst, kind), c.instance[:]...), c.name...)
}

// parseClaim reads the payload of a claim. Its errors are for the outlet.
func parseClaim(b []byte) (claim, error) {
	if len(b) <= kindSize+instanceSize || b[0] > kindMuxOnly|kindReplace|kindOutlives|kindShares {
		return claim{}, route.Refuse(wire.BadMessage, "not a claim of a name")
	}
	c := claim{
		muxOnly: b[0]&kindMuxOnly != 0, replace: b[0]&kindReplace != 0,
		outlives: b[0]&kindOutlives != 0, shares: b[0]&kindShares != 0,
		instance: Instance(b[kindSize:][:instanceSize]), name: string(b[kindSize+instanceSize:]),
	}
	if err := route.Forward(c.name).Validate(); err != nil {
		return claim{}, route.Refuse(wire.BadMessage,
			"a relay name has only letters, digits, dot, dash and underscore")
	}
	return c, nil
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

// demands are what a relay has said on its first link.
type demands struct {
	missing    int  // standby links
	none       bool // and it wants none to be kept
	superseded bool // it is the end
	nodes      bool
}

// parseDemands reads what b says. Bytes that mean nothing yet are left out.
func parseDemands(b []byte) demands {
	return demands{
		missing:    bytes.Count(b, []byte{demandLink}),
		none:       bytes.LastIndexByte(b, demandNone) > bytes.LastIndexByte(b, demandLink),
		superseded: bytes.IndexByte(b, demandSuperseded) >= 0,
		nodes:      bytes.IndexByte(b, demandNodes) >= 0,
	}
}

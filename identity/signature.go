package identity

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"slices"
)

// sign signs context | parts with key.
func sign(key ed25519.PrivateKey, context string, parts ...[]byte) []byte {
	return ed25519.Sign(key, message(context, parts))
}

// verify reports whether sig is key's signature over context | parts.
func verify(key ed25519.PublicKey, sig []byte, context string, parts ...[]byte) bool {
	return len(key) == keySize && ed25519.Verify(key, message(context, parts), sig)
}

func message(context string, parts [][]byte) []byte {
	return slices.Concat(append([][]byte{[]byte(context)}, parts...)...)
}

var (
	errKeyEncoding = errors.New("public key is not in its canonical encoding")
	errKeyWeak     = errors.New("public key is of small order: anybody can sign for it")
)

// smallOrder holds the y coordinates of the eight points of small order on
// edwards25519, in the encoding of public keys without the sign of x. For such a
// "key" signatures exist that hold for any message.
var smallOrder = [...]string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// checkPublicKey refuses keys that crypto/ed25519 would take and nobody should have: a
// y coordinate that is not reduced, and points of small order.
func checkPublicKey(key ed25519.PublicKey) error {
	var y [keySize]byte
	if copy(y[:], key) != keySize {
		return errKeyEncoding
	}
	y[keySize-1] &= 0x7f // the sign of x
	if !reduced(y) {
		return errKeyEncoding
	}
	if slices.Contains(smallOrder[:], hex.EncodeToString(y[:])) {
		return errKeyWeak
	}
	return nil
}

// reduced reports whether the little-endian number y is below 2^255 - 19.
func reduced(y [keySize]byte) bool {
	if y[keySize-1] != 0x7f || y[0] < 0xed {
		return true
	}
	for _, b := range y[1 : keySize-1] {
		if b != 0xff {
			return true
		}
	}
	return false
}

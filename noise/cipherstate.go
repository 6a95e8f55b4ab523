package noise

import (
	"crypto/cipher"
	"errors"
	"math"
)

// CipherState is a key for one direction and the number of messages it has been
// used for (Noise §5.1). Messages must be decrypted in the order in which they
// were encrypted, without gap or repeat: the counter is the nonce, and it is not
// sent.
//
// A CipherState must not be copied, nor used by two goroutines at a time.
type CipherState struct {
	_    noCopy
	fn   *cipherFunc
	aead cipher.AEAD // what k is expanded to; nil when there is no key, and after Rest
	n    uint64
	key  bool // there is one
	k    [KeySize]byte

	nonce [12]byte // here, not on the stack, where it would escape at each call
}

// reservedNonce is for Rekey alone (Noise §5.1).
const reservedNonce = math.MaxUint64

var errNoKey = errors.New("noise: cipher state without a key")

// noCopy makes go vet complain about copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// newCipherState uses the first KeySize bytes of key, which may be as long as a
// hash (Noise §5.2 Split). It keeps no reference to them.
func newCipherState(fn *cipherFunc, key []byte) *CipherState {
	c := &CipherState{fn: fn}
	c.initializeKey(key)
	return c
}

// Noise §5.1 InitializeKey.
func (c *CipherState) initializeKey(key []byte) {
	copy(c.k[:], key[:KeySize])
	c.key, c.n = true, 0
	c.expand()
}

func (c *CipherState) expand() {
	aead, err := c.fn.new(c.k[:])
	if err != nil {
		panic(err) // only the key's length can be wrong, and it is not
	}
	c.aead = aead
}

// Rest lets go of what the key is expanded to, which takes thirty times its room, until the state
// is used again. It is for who has many that are used rarely.
func (c *CipherState) Rest() { c.aead = nil }

// forget drops the key.
func (c *CipherState) forget() {
	clear(c.k[:])
	c.key, c.aead = false, nil
}

// Noise §5.1 HasKey.
func (c *CipherState) hasKey() bool { return c.key }

// Overhead returns the number of bytes that encryption adds to a plaintext.
func (c *CipherState) Overhead() int { return TagSize }

// EncryptWithAd encrypts plaintext, authenticates it and ad, which may be nil,
// and appends the result to dst (Noise §5.1). Plaintext must not overlap with
// what is appended, unless it is encrypted in place: dst = plaintext[:0], with
// room for TagSize bytes more.
//
// It fails with ErrMessageTooLong if plaintext has more than MaxPlaintextSize
// bytes, or with ErrNonceExhausted. Either leaves dst and the state as they were.
func (c *CipherState) EncryptWithAd(dst, ad, plaintext []byte) ([]byte, error) {
	if len(plaintext) > MaxPlaintextSize {
		return nil, ErrMessageTooLong
	}
	if err := c.checkKey(); err != nil {
		return nil, err
	}
	dst = c.aead.Seal(dst, c.nonceFor(c.n), plaintext, ad)
	c.n++
	return dst, nil
}

// DecryptWithAd checks ciphertext and ad and appends the plaintext to dst (Noise
// §5.1). Ciphertext must not overlap with what is appended, unless it is
// decrypted in place: dst = ciphertext[:0].
//
// It fails with ErrDecrypt, ErrMessageTooLong or ErrNonceExhausted. None of them
// advances the nonce, but after ErrDecrypt the room behind dst, and with it a
// ciphertext decrypted in place, is lost.
func (c *CipherState) DecryptWithAd(dst, ad, ciphertext []byte) ([]byte, error) {
	if len(ciphertext) > MaxMessageSize {
		return nil, ErrMessageTooLong
	}
	if err := c.checkKey(); err != nil {
		return nil, err
	}
	dst, err := c.aead.Open(dst, c.nonceFor(c.n), ciphertext, ad)
	if err != nil {
		return nil, ErrDecrypt
	}
	c.n++
	return dst, nil
}

// Rekey replaces the key by one that is derived from it, and from which it
// cannot be found (Noise §4.2 REKEY, §11.3). Both sides must do it between the
// same two messages. The count of messages goes on: a rekeyed state is exhausted
// no later. It fails only on a CipherState that did not come from this package.
func (c *CipherState) Rekey() error {
	if !c.hasKey() {
		return errNoKey
	}
	if c.aead == nil {
		c.expand()
	}
	key := make([]byte, KeySize, KeySize+TagSize)
	key = c.aead.Seal(key[:0], c.nonceFor(reservedNonce), key, nil)
	n := c.n
	c.initializeKey(key)
	c.n = n
	clear(key)
	return nil
}

// checkKey reports why the state cannot be used for another message.
func (c *CipherState) checkKey() error {
	switch {
	case !c.hasKey():
		return errNoKey
	case c.n == reservedNonce:
		return ErrNonceExhausted
	case c.aead == nil:
		c.expand()
	}
	return nil
}

// nonceFor encodes n: four zero bytes and the counter (Noise §12.3, §12.4).
func (c *CipherState) nonceFor(n uint64) []byte {
	c.fn.order.PutUint64(c.nonce[4:], n)
	return c.nonce[:]
}

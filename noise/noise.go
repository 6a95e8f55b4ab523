// Package noise is the Noise protocol framework, revision 34, as far as sp
// needs it: the XX handshake over X25519, and XXhfs, the same handshake with
// ML-KEM-768 beside X25519, so that what is recorded today stays closed to the
// quantum computer of tomorrow (drafted in libp2p/specs#727).
//
// A handshake is a [HandshakeState]: two sides take turns with WriteMessage and
// ReadMessage until both are Done, then take their pair of [CipherState] with
// Split, or any number of further secrets with Secret.
//
//	initiator                             responder
//	WriteMessage ── e [e1] ─────────────▶ ReadMessage
//	ReadMessage  ◀── e ee [ekem1] s es ── WriteMessage
//	WriteMessage ── s se ───────────────▶ ReadMessage
//	Done                                  Done
//
// Noise proves that a peer holds a static key. It says nothing about whose key
// that is: whoever uses this package must check the peer's static key, or a
// signature of the handshake hash in a payload, before trusting the channel.
//
// The package never does I/O, never looks at a clock, never negotiates and never
// logs. It gives out no key and lets no one set a nonce. Unless its comment says
// otherwise, a value must not be used by two goroutines at a time.
package noise

import "errors"

// Sizes that all suites share, in bytes.
const (
	// KeySize is the size of a cipher key, and of X25519 keys and shared secrets.
	KeySize = 32
	// TagSize is what encryption adds to a plaintext.
	TagSize = 16
	// MaxMessageSize is the most a message may have, handshake or transport,
	// tag included (Noise §3).
	MaxMessageSize = 65535
	// MaxPlaintextSize is the most that fits in one transport message.
	MaxPlaintextSize = MaxMessageSize - TagSize
)

// Errors that a caller may want to tell apart. Handshake errors wrap them and
// name the message and the token.
var (
	// ErrDecrypt means that a ciphertext is not what the peer encrypted with
	// this key, for this place in the order, and with this associated data.
	ErrDecrypt = errors.New("noise: message authentication failed")
	// ErrNonceExhausted means that a key has encrypted or decrypted 2^64-1
	// messages and will do no more (Noise §5.1).
	ErrNonceExhausted = errors.New("noise: nonces exhausted")
	// ErrMessageTooLong means that a message would have, or has, more than
	// MaxMessageSize bytes.
	ErrMessageTooLong = errors.New("noise: message too long")
	// ErrMessageTooShort means that a handshake message ended before its tokens did.
	ErrMessageTooShort = errors.New("noise: message too short")
)

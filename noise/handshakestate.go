package noise

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

// Config is what a handshake starts from. It is not kept and not modified.
type Config struct {
	// Suite is the protocol; both sides must name the same. Required.
	Suite Suite
	// Initiator is true on the side that writes the first message.
	Initiator bool
	// Prologue is data that both sides must agree on for the handshake to
	// succeed (Noise §6). It is not sent. May be nil.
	Prologue []byte
	// Static is this side's static X25519 key. Required.
	Static *ecdh.PrivateKey
	// Random is where ephemeral X25519 and ML-KEM keys are drawn from. Nil
	// means crypto/rand.Reader; anything else is for tests. The responder's
	// ML-KEM encapsulation always uses the system's randomness.
	Random io.Reader
}

// HandshakeState is one side of a handshake (Noise §5.3). The first error, be
// it the peer's doing or a call out of turn, is permanent: the keys are
// forgotten and every later call fails with the same error.
//
//	     ┌─── 3 messages ───┐
//	New ─▶ Write ⇄ Read ... ─▶ Done: Split, Secret, HandshakeHash ─▶ Forget
//	     └──── any error ───▶ dead
type HandshakeState struct {
	// Set once.
	suite     Suite
	initiator bool
	random    io.Reader
	// encapsulate is the KEM's; vectors need one with fixed randomness.
	encapsulate func(*mlkem.EncapsulationKey768) (sharedKey, ciphertext []byte)

	// Noise §5.3, with Noise's names; e1 and re1 are the hybrid's.
	ss  symmetricState
	s   *ecdh.PrivateKey
	e   *ecdh.PrivateKey
	rs  *ecdh.PublicKey
	re  *ecdh.PublicKey
	e1  *mlkem.DecapsulationKey768
	re1 *mlkem.EncapsulationKey768

	next  int // index of the next message
	done  bool
	split bool
	err   error // permanent
}

var (
	errTurn      = errors.New("noise: it is the other side's turn")
	errDone      = errors.New("noise: handshake is over")
	errNotDone   = errors.New("noise: handshake is not over")
	errSplit     = errors.New("noise: already split")
	errForgotten = errors.New("noise: handshake is forgotten")
)

// NewHandshakeState returns a handshake of which nothing has been sent (Noise
// §5.3 Initialize). It fails if Suite or Static is missing or Static is not an
// X25519 key.
func NewHandshakeState(cfg Config) (*HandshakeState, error) {
	if cfg.Suite == (Suite{}) {
		return nil, errors.New("noise: no suite given")
	}
	if cfg.Static == nil || cfg.Static.Curve() != ecdh.X25519() {
		return nil, errors.New("noise: the static key must be an X25519 key")
	}
	hs := &HandshakeState{
		suite:       cfg.Suite,
		initiator:   cfg.Initiator,
		random:      cfg.Random,
		encapsulate: (*mlkem.EncapsulationKey768).Encapsulate,
		s:           cfg.Static,
	}
	if hs.random == nil {
		hs.random = rand.Reader
	}
	hs.ss.initialize(cfg.Suite)
	hs.ss.mixHash(cfg.Prologue)
	return hs, nil
}

// WriteMessage appends this side's next message to dst (Noise §5.3).
//
// Payload, if not nil, is called once, after the message's tokens were
// processed, with a copy of the handshake hash as it stands then: the hash that
// a signature over the transcript signs. What it returns goes into the message.
// In the first message it is neither secret nor, until the peer's answer has
// been read, authentic; in the second, a man in the middle may be the one who
// reads it.
//
// It fails if payload does, if it is the other side's turn, if the message would
// have more than MaxMessageSize bytes (ErrMessageTooLong), if random bytes
// cannot be had, or if the peer's key is a point of low order.
func (hs *HandshakeState) WriteMessage(
	dst []byte,
	payload func(h []byte) ([]byte, error),
) ([]byte, error) {
	tokens, err := hs.begin(true)
	if err != nil {
		return nil, hs.fail(err)
	}
	start := len(dst)
	for _, t := range tokens {
		if dst, err = hs.process(t, dst, true); err != nil {
			return nil, hs.failAt(string(t), err)
		}
	}
	if dst, err = hs.writePayload(dst, start, payload); err != nil {
		return nil, hs.failAt("payload", err)
	}
	hs.finish()
	return dst, nil
}

// ReadMessage processes the peer's next message (Noise §5.3). It returns the
// payload, which may be empty, and the handshake hash that the peer's
// WriteMessage gave to its payload function. Both are copies; message is not
// modified.
//
// It fails if it is this side's turn, if message has the wrong size
// (ErrMessageTooShort, ErrMessageTooLong) or is not authentic (ErrDecrypt), or
// if a key in it is refused: a point of low order, or an ML-KEM key that is not
// reduced. A message that was changed on its way makes either this call fail or
// one that follows, before the handshake is done on both sides.
func (hs *HandshakeState) ReadMessage(message []byte) (payload, h []byte, err error) {
	tokens, err := hs.begin(false)
	if err != nil {
		return nil, nil, hs.fail(err)
	}
	if len(message) > MaxMessageSize {
		return nil, nil, hs.failAt("size", ErrMessageTooLong)
	}
	for _, t := range tokens {
		if message, err = hs.process(t, message, false); err != nil {
			return nil, nil, hs.failAt(string(t), err)
		}
	}
	h = bytes.Clone(hs.ss.h)
	if len(message) < hs.ss.overhead() {
		return nil, nil, hs.failAt("payload", ErrMessageTooShort)
	}
	if payload, err = hs.ss.decryptAndHash(message); err != nil {
		return nil, nil, hs.failAt("payload", err)
	}
	hs.finish()
	return payload, h, nil
}

// Done reports whether all messages were written and read without an error.
func (hs *HandshakeState) Done() bool { return hs.done && hs.err == nil }

// HandshakeHash returns a copy of the hash of the whole handshake, which is
// unique to it and public: the channel binding of Noise §11.2. It is nil unless
// Done.
func (hs *HandshakeState) HandshakeHash() []byte {
	if !hs.Done() {
		return nil
	}
	return bytes.Clone(hs.ss.h)
}

// PeerStatic returns the peer's static key, once the message that carries it
// (the second for the initiator, the third for the responder) has been read: the
// peer has then proved to hold it. Before that, and after an error, it is nil.
func (hs *HandshakeState) PeerStatic() *ecdh.PublicKey {
	return hs.rs
}

// Split returns the cipher states for what this side sends and receives after
// the handshake (Noise §5.2 Split). It can be called once, after Done.
func (hs *HandshakeState) Split() (send, receive *CipherState, err error) {
	if err := hs.checkDone(); err != nil {
		return nil, nil, err
	}
	if hs.split {
		return nil, nil, errSplit
	}
	hs.split = true
	send, receive = hs.ss.split()
	if !hs.initiator {
		send, receive = receive, send
	}
	return send, receive, nil
}

// Secret returns an additional symmetric key, the same on both sides, that is
// independent of what Split and other labels give:
//
//	HKDF(ck, label || h, 1)
//
// with Noise's HKDF, the final chaining key ck and the final handshake hash h.
// It can be called after Done, before or after Split.
func (hs *HandshakeState) Secret(label string) (*Secret, error) {
	if err := hs.checkDone(); err != nil {
		return nil, err
	}
	key, rest := hs.suite.hash.hkdf2(hs.ss.ck, append([]byte(label), hs.ss.h...))
	clear(rest)
	return &Secret{suite: hs.suite, key: key}, nil
}

// Forget ends the use of hs: it zeroes or drops all keys, and later calls fail.
// Cipher states and secrets that were taken from hs go on working.
func (hs *HandshakeState) Forget() {
	if hs.err == nil {
		hs.fail(errForgotten)
	}
}

// process is one token of a message, Noise §5.3. When writing, buf is the
// message so far and is returned with what the token adds; when reading, it is
// what is left of the message and is returned without what the token took.
func (hs *HandshakeState) process(t token, buf []byte, writing bool) ([]byte, error) {
	switch t {
	case tokenE:
		if writing {
			return hs.writeE(buf)
		}
		return hs.readE(buf)
	case tokenS:
		if writing {
			return hs.ss.encryptAndHash(buf, hs.s.PublicKey().Bytes())
		}
		return hs.readS(buf)
	case tokenEE:
		return buf, hs.mixDH(hs.e, hs.re)
	case tokenES:
		if hs.initiator {
			return buf, hs.mixDH(hs.e, hs.rs)
		}
		return buf, hs.mixDH(hs.s, hs.re)
	case tokenSE:
		if hs.initiator {
			return buf, hs.mixDH(hs.s, hs.re)
		}
		return buf, hs.mixDH(hs.e, hs.rs)
	case tokenE1:
		if writing {
			return hs.writeE1(buf)
		}
		return hs.readE1(buf)
	case tokenEKEM1:
		if writing {
			return hs.writeEKEM1(buf)
		}
		return hs.readEKEM1(buf)
	}
	panic("noise: unknown token " + t)
}

func (hs *HandshakeState) writeE(buf []byte) ([]byte, error) {
	// Not GenerateKey: it ignores the source it is given.
	private := make([]byte, KeySize)
	if _, err := io.ReadFull(hs.random, private); err != nil {
		return nil, err
	}
	e, err := ecdh.X25519().NewPrivateKey(private)
	clear(private)
	if err != nil {
		return nil, err
	}
	hs.e = e
	public := e.PublicKey().Bytes()
	hs.ss.mixHash(public)
	return append(buf, public...), nil
}

func (hs *HandshakeState) readE(buf []byte) ([]byte, error) {
	if len(buf) < KeySize {
		return nil, ErrMessageTooShort
	}
	re, err := ecdh.X25519().NewPublicKey(buf[:KeySize])
	if err != nil {
		return nil, err
	}
	hs.re = re
	hs.ss.mixHash(buf[:KeySize])
	return buf[KeySize:], nil
}

func (hs *HandshakeState) readS(buf []byte) ([]byte, error) {
	public, buf, err := hs.readEncrypted(buf, KeySize)
	if err != nil {
		return nil, err
	}
	hs.rs, err = ecdh.X25519().NewPublicKey(public)
	return buf, err
}

// mixDH is MixKey(DH(private, public)). A point of low order, for which the
// result would be zero whatever the private key, is an error (Noise §12.1
// leaves the choice).
func (hs *HandshakeState) mixDH(private *ecdh.PrivateKey, public *ecdh.PublicKey) error {
	shared, err := private.ECDH(public)
	if err != nil {
		return err
	}
	hs.ss.mixKey(shared)
	return nil
}

// readEncrypted takes size bytes, and a tag if there is a key, off buf and
// decrypts them.
func (hs *HandshakeState) readEncrypted(buf []byte, size int) (plaintext, rest []byte, err error) {
	size += hs.ss.overhead()
	if len(buf) < size {
		return nil, nil, ErrMessageTooShort
	}
	plaintext, err = hs.ss.decryptAndHash(buf[:size])
	return plaintext, buf[size:], err
}

// writePayload ends the message that starts at dst[start].
func (hs *HandshakeState) writePayload(
	dst []byte,
	start int,
	payload func(h []byte) ([]byte, error),
) ([]byte, error) {
	var p []byte
	if payload != nil {
		var err error
		if p, err = payload(bytes.Clone(hs.ss.h)); err != nil {
			return nil, err
		}
		if hs.err != nil { // payload used hs out of turn
			return nil, hs.err
		}
	}
	if len(dst)-start+len(p)+hs.ss.overhead() > MaxMessageSize {
		return nil, ErrMessageTooLong
	}
	return hs.ss.encryptAndHash(dst, p)
}

// begin takes the next message off the pattern, if it is for this side to write
// or read it.
func (hs *HandshakeState) begin(writing bool) ([]token, error) {
	messages := hs.suite.pattern.messages
	switch {
	case hs.err != nil:
		return nil, hs.err
	case hs.next == len(messages):
		return nil, errDone
	case writing != (hs.initiator == (hs.next%2 == 0)):
		return nil, errTurn
	}
	hs.next++
	return messages[hs.next-1], nil
}

// finish ends a message. After the last one, only ck, h and rs are needed.
func (hs *HandshakeState) finish() {
	if hs.next == len(hs.suite.pattern.messages) {
		hs.done = true
		hs.forgetKeys()
	}
}

func (hs *HandshakeState) checkDone() error {
	switch {
	case hs.err != nil:
		return hs.err
	case !hs.done:
		return errNotDone
	}
	return nil
}

// failAt is fail with the message's number, from 1, and the place in it.
func (hs *HandshakeState) failAt(place string, err error) error {
	return hs.fail(fmt.Errorf("noise: handshake message %d, %s: %w", hs.next, place, err))
}

// fail makes err permanent, unless an earlier one is, and forgets everything.
func (hs *HandshakeState) fail(err error) error {
	if hs.err == nil {
		hs.err = err
		hs.forgetKeys()
		hs.ss.forget()
		hs.rs = nil
	}
	return hs.err
}

// forgetKeys drops the asymmetric keys; their types do not let us zero them.
func (hs *HandshakeState) forgetKeys() {
	hs.s, hs.e, hs.re, hs.e1, hs.re1 = nil, nil, nil, nil, nil
}

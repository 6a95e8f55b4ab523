package noise

import (
	"crypto/mlkem"
	"io"
)

// The tokens of hybrid forward secrecy, with ML-KEM-768 as the KEM. Both are
// encrypted if there is a key: e1 never is in XXhfs, being in the first message;
// ekem1 is, under the key from ee.

func (hs *HandshakeState) writeE1(buf []byte) ([]byte, error) {
	seed := make([]byte, mlkem.SeedSize)
	defer clear(seed)
	if _, err := io.ReadFull(hs.random, seed); err != nil {
		return nil, err
	}
	e1, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		return nil, err
	}
	hs.e1 = e1
	return hs.ss.encryptAndHash(buf, e1.EncapsulationKey().Bytes())
}

func (hs *HandshakeState) readE1(buf []byte) ([]byte, error) {
	public, buf, err := hs.readEncrypted(buf, mlkem.EncapsulationKeySize768)
	if err != nil {
		return nil, err
	}
	hs.re1, err = mlkem.NewEncapsulationKey768(public)
	return buf, err
}

func (hs *HandshakeState) writeEKEM1(buf []byte) ([]byte, error) {
	shared, ciphertext := hs.encapsulate(hs.re1)
	buf, err := hs.ss.encryptAndHash(buf, ciphertext)
	if err != nil {
		return nil, err
	}
	hs.ss.mixKey(shared)
	return buf, nil
}

func (hs *HandshakeState) readEKEM1(buf []byte) ([]byte, error) {
	ciphertext, buf, err := hs.readEncrypted(buf, mlkem.CiphertextSize768)
	if err != nil {
		return nil, err
	}
	shared, err := hs.e1.Decapsulate(ciphertext)
	if err != nil {
		return nil, err
	}
	hs.ss.mixKey(shared)
	return buf, nil
}

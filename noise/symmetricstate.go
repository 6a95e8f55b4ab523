package noise

// symmetricState is what both sides of a handshake have in common (Noise §5.2).
type symmetricState struct {
	cs   CipherState
	hash *hashFunc
	ck   []byte // chaining key
	h    []byte // handshake hash
}

// Noise §5.2 InitializeSymmetric.
func (ss *symmetricState) initialize(suite Suite) {
	ss.cs.fn, ss.hash = suite.cipher, suite.hash
	name := []byte(suite.String())
	m := ss.hash.mac()
	ss.h = make([]byte, m.hash.Size())
	if copy(ss.h, name) < len(name) {
		m.hash.Write(name)
		ss.h = m.hash.Sum(ss.h[:0])
	}
	ss.hash.free(m)
	ss.ck = append([]byte(nil), ss.h...)
}

// Noise §5.2 MixKey. It zeroes ikm.
func (ss *symmetricState) mixKey(ikm []byte) {
	ck, key := ss.hash.hkdf2(ss.ck, ikm)
	ss.cs.initializeKey(key)
	copy(ss.ck, ck)
	clear(ck)
	clear(key)
	clear(ikm)
}

// Noise §5.2 MixHash.
func (ss *symmetricState) mixHash(data []byte) {
	m := ss.hash.mac()
	m.hash.Write(ss.h)
	m.hash.Write(data)
	ss.h = m.hash.Sum(ss.h[:0])
	ss.hash.free(m)
}

// Noise §5.2 EncryptAndHash. It appends to dst.
func (ss *symmetricState) encryptAndHash(dst, plaintext []byte) ([]byte, error) {
	start := len(dst)
	if !ss.cs.hasKey() {
		dst = append(dst, plaintext...)
	} else {
		var err error
		if dst, err = ss.cs.EncryptWithAd(dst, ss.h, plaintext); err != nil {
			return nil, err
		}
	}
	ss.mixHash(dst[start:])
	return dst, nil
}

// Noise §5.2 DecryptAndHash. The plaintext is a slice of its own.
func (ss *symmetricState) decryptAndHash(data []byte) ([]byte, error) {
	var plaintext []byte
	if !ss.cs.hasKey() {
		plaintext = append(plaintext, data...)
	} else {
		var err error
		if plaintext, err = ss.cs.DecryptWithAd(nil, ss.h, data); err != nil {
			return nil, err
		}
	}
	ss.mixHash(data)
	return plaintext, nil
}

// overhead is what encryptAndHash adds.
func (ss *symmetricState) overhead() int {
	if ss.cs.hasKey() {
		return TagSize
	}
	return 0
}

// Noise §5.2 Split.
func (ss *symmetricState) split() (initiator, responder *CipherState) {
	return keyPair(ss.cs.fn, ss.hash, ss.ck, nil)
}

// forget zeroes the chaining key and drops the cipher key.
func (ss *symmetricState) forget() {
	clear(ss.ck)
	ss.ck, ss.h = nil, nil
	ss.cs.forget()
}

// keyPair returns the cipher states for HKDF(ck, ikm, 2).
func keyPair(fn *cipherFunc, h *hashFunc, ck, ikm []byte) (initiator, responder *CipherState) {
	k1, k2 := h.hkdf2(ck, ikm)
	initiator, responder = newCipherState(fn, k1), newCipherState(fn, k2)
	clear(k1)
	clear(k2)
	return initiator, responder
}

package identity

import (
	"bytes"
	"errors"
	"fmt"
)

// HoldingSignature is how many bytes SignHolding returns.
const HoldingSignature = signatureSize

// SignHolding signs, with the identity's current key, what it says of where it holds a name. What
// is said has to begin with something that the one who asks has drawn: nothing of it is good twice.
func (id *Identity) SignHolding(said []byte) []byte {
	return sign(id.key(), contextHolding, said)
}

// VerifyHolding checks that the current key of the history has signed what is said of where its
// identity holds a name. Whether that key has been given up since, the history cannot know.
func (h *History) VerifyHolding(said, signature []byte) error {
	if !verify(h.current(), signature, contextHolding, said) {
		return forgedError{errors.New("the signature of what is said of a name is wrong")}
	}
	return nil
}

// ReadHistory takes a history off the front of b, as ParseHistory does a whole one.
func ReadHistory(b []byte) (h *History, rest []byte, err error) {
	d := &decoder{b: bytes.Clone(b)}
	h = decodeHistory(d)
	err = d.err
	if err == nil {
		err = h.verify()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("history: %w", err)
	}
	return h, d.b, nil
}
